//! A CA whose directory goes with its pod.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use sealane_harness::{World, cluster::Cluster};
use serde_json::json;

use crate::stage::Stage;

/// A new pod has the keys of the one before, by the rights of the manifests and no others.
pub fn keep(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let cluster = Cluster::start(world, stage.family)?;
    let first = world.scratch("first")?.join("ca");
    cluster.keep(world, &first)?;
    let read = |dir: &std::path::Path, name: &str| fs::read(dir.join(name));
    let (key, root) = (read(&first, "ca.key")?, read(&first, "ca.crt")?);

    let next = world.scratch("next")?.join("ca");
    cluster.keep(world, &next)?;
    ensure!(read(&next, "ca.key")? == key, "another key");
    ensure!(read(&next, "ca.crt")? == root, "another certificate");

    // What people put into the Secret counts: the next pod has it as well.
    fs::write(next.join("root.crt"), &root)?;
    cluster.keep(world, &next)?;
    cluster.keep(world, &first)?;
    ensure!(read(&first, "root.crt")? == root, "no further roots");

    // What is of no use takes nothing away, and keeps nothing from being saved.
    let nonsense = "bm9uc2Vuc2U=";
    cluster.put(&json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"namespace": "sealane-system", "name": "sealane-ca"},
        "data": {"ca.key": nonsense, "ca.crt": nonsense},
    }))?;
    refused(&cluster, world, &first)?;
    ensure!(read(&first, "ca.key")? == key, "the key is gone");
    fs::remove_file(first.join("root.crt"))?;
    refused(&cluster, world, &first)?;
    let last = world.scratch("last")?.join("ca");
    cluster.keep(world, &last)?;
    ensure!(read(&last, "ca.key")? == key, "the key was not saved");
    ensure!(
        !last.join("root.crt").exists(),
        "what has changed was not saved"
    );
    Ok(())
}

fn refused(cluster: &Cluster, world: &World, directory: &Path) -> Result<()> {
    let kept = cluster.keep(world, directory).err();
    let told = kept.context("nonsense is taken")?.to_string();
    ensure!(told.contains("of no use"), "{told}");
    Ok(())
}
