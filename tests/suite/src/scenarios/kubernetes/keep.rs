//! A CA whose directory goes with its pod.

use std::fs;

use anyhow::{Result, ensure};
use sealane_harness::cluster::Cluster;

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
    Ok(())
}
