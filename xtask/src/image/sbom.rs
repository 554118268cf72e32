//! What is linked into the binary, as CycloneDX 1.6 (<https://cyclonedx.org/docs/1.6/json/>): crates of the agent and of
//! the programs in the kernel, Rust's and C's libraries. Build scripts, procedural macros and tests are not in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{binary::Program, layout::instant};
use crate::{process, workspace};

/// A workspace, what is linked of it, and for what machine it is resolved (none: for any).
struct Origin<'a> {
    directory: &'a str,
    package: &'a str,
    target: Option<&'a str>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A crate, as `cargo metadata` tells of it.
#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    description: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// Name and version.
type Crate = (String, String);

/// The list, as JSON; the same for the same sources and tools.
pub(super) fn list(program: &Program, time: u64) -> Result<String> {
    let agent = Origin {
        directory: "",
        package: "sealane",
        target: Some(&program.target),
    };
    let kernel = Origin {
        directory: "agent-ebpf",
        package: "sealane-ebpf",
        target: None,
    };
    let mut components = BTreeMap::new();
    for origin in [agent, kernel] {
        components.extend(origin.components()?);
    }
    let own = components.remove(&("sealane".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
    let own = own.context("cargo tree does not name sealane")?;
    let mut components: Vec<_> = components.into_values().collect();
    components.extend(libraries(program));
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": instant(time)?,
            "component": own,
            "tools": {"components": [{"type": "application", "name": "cargo xtask image"}]},
        },
        "components": components,
    });
    Ok(format!("{bill:#}\n"))
}

impl Origin<'_> {
    fn components(&self) -> Result<BTreeMap<Crate, Value>> {
        let linked = self.linked()?;
        let directory = workspace::root().join(self.directory);
        let mut cargo = process::cargo();
        cargo.args(["metadata", "--format-version=1", "--locked"]);
        let text = process::output(cargo.current_dir(&directory))?;
        let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata")?;
        let checksums = checksums(&directory.join("Cargo.lock"))?;
        let mut components = BTreeMap::new();
        for package in metadata.packages {
            let key = (package.name.clone(), package.version.clone());
            if linked.contains(&key) {
                let component = component(&package, checksums.get(&key));
                components.insert(key, component);
            }
        }
        ensure!(
            components.len() == linked.len(),
            "cargo tree and cargo metadata do not agree on {}",
            self.package
        );
        Ok(components)
    }

    /// `cargo tree` resolves features for this package alone; `cargo metadata` would for the whole workspace.
    fn linked(&self) -> Result<BTreeSet<Crate>> {
        let mut cargo = process::cargo();
        cargo
            .args(["tree", "--locked", "--package", self.package])
            .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"]);
        match self.target {
            Some(target) => cargo.args(["--target", target]),
            None => &mut cargo,
        };
        let text = process::output(cargo.current_dir(workspace::root().join(self.directory)))?;
        Ok(text.lines().filter_map(linked_crate).collect())
    }
}

/// A line of `cargo tree`: `serde_derive v1.0.0 (proc-macro) (*)`.
fn linked_crate(line: &str) -> Option<Crate> {
    let (name, rest) = line.split_once(" v")?;
    let version = rest.split(' ').next()?;
    let is_macro = rest.contains("(proc-macro)");
    (!is_macro).then(|| (name.to_owned(), version.to_owned()))
}

fn checksums(path: &Path) -> Result<BTreeMap<Crate, String>> {
    let shown = || path.display().to_string();
    let bytes = fs::read(path).with_context(shown)?;
    let lock: Lock = basic_toml::from_slice(&bytes).with_context(shown)?;
    let known = lock.package.into_iter();
    Ok(known
        .filter_map(|locked| Some(((locked.name, locked.version), locked.checksum?)))
        .collect())
}

fn component(package: &Package, checksum: Option<&String>) -> Value {
    let purl = format!("pkg:cargo/{}@{}", package.name, package.version);
    let is_own = package.source.is_none();
    let mut component = json!({
        "type": if package.name == "sealane" { "application" } else { "library" },
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
    });
    // Crates of the workspace are in no registry.
    if !is_own {
        component["purl"] = json!(purl);
    }
    if let Some(license) = &package.license {
        // Before 2021 alternatives were written with a slash.
        component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
    }
    if let Some(description) = &package.description {
        component["description"] = json!(description.trim());
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

/// What is no crate.
fn libraries(program: &Program) -> Vec<Value> {
    let output = |program: &str, arguments: &[&str]| {
        process::output(Command::new(program).args(arguments)).unwrap_or_default()
    };
    let libc = output("getconf", &["GNU_LIBC_VERSION"]);
    let libc = libc.trim_start_matches("glibc ");
    let authorities = output(
        "dpkg-query",
        &["--show", "--showformat=${Version}", "ca-certificates"],
    );
    let library = |name: &str, version: &str, license: &str| {
        json!({
            "type": "library",
            "bom-ref": format!("pkg:generic/{name}@{version}"),
            "name": name,
            "version": version,
            "licenses": [{"expression": license}],
        })
    };
    vec![
        library("rust-std", &program.rust, "MIT OR Apache-2.0"),
        library("glibc", libc, "LGPL-2.1-or-later"),
        library("ca-certificates", &authorities, "MPL-2.0"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cargo_tree() {
        let pair = |name: &str, version: &str| Some((name.to_owned(), version.to_owned()));
        assert_eq!(linked_crate("tokio v1.2.3 (*)"), pair("tokio", "1.2.3"));
        assert_eq!(
            linked_crate("sealane v0.1.0 (/src/agent)"),
            pair("sealane", "0.1.0")
        );
        assert_eq!(linked_crate("serde_derive v1.0.0 (proc-macro)"), None);
        assert_eq!(linked_crate(""), None);
    }

    #[test]
    fn components_say_where_they_are_from() {
        let package = Package {
            name: "a".to_owned(),
            version: "1.0.0".to_owned(),
            license: Some("MIT/Apache-2.0".to_owned()),
            repository: None,
            description: None,
            source: Some("registry+https://github.com/rust-lang/crates.io-index".to_owned()),
        };
        let component = component(&package, Some(&"00ff".to_owned()));
        assert_eq!(component["purl"], "pkg:cargo/a@1.0.0");
        assert_eq!(component["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(component["hashes"][0]["content"], "00ff");
    }
}
