//! What the fuzz targets have in common.

use sealane::{
    config::MeshConfig,
    control::{self, LoadErrors, Loaded, Settings},
};

/// A mesh with an alias of its trust domain.
///
/// # Panics
/// Never: the names are good.
#[must_use]
pub fn settings() -> Settings {
    let domain = |name: &str| name.parse().expect("a trust domain");
    Settings::from(MeshConfig {
        trust_domain: domain("mesh.example"),
        trust_domain_aliases: vec![domain("old.example")],
        cluster_domain: "cluster.local".to_owned(),
        root_namespace: "istio-system".to_owned(),
    })
}

/// Reads documents as if each text were a file.
///
/// # Errors
/// What is wrong with them.
pub fn read(texts: &[String], settings: &Settings) -> Result<Loaded, LoadErrors> {
    let names: Vec<_> = (0..texts.len()).map(|n| format!("{n}.yaml")).collect();
    let files = names.iter().zip(texts);
    let files: Vec<_> = files.map(|(n, t)| (n.as_str(), t.as_str())).collect();
    control::load_texts(&files, settings)
}
