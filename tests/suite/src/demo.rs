//! The demonstration: what Sealane does, on real programs, with what was seen on the wire.

mod narrator;
mod steps;

use std::{process::ExitCode, sync::Arc};

use anyhow::Result;
use sealane_harness::{Family, Run, World, apps::MariaDbTemplate};

use crate::stage::Stage;
use narrator::Narrator;

/// Shows every step; success only if all held.
///
/// # Errors
/// When the stage can't be built.
pub fn show(run: &Arc<Run>) -> Result<ExitCode> {
    let world = World::new(run)?;
    let stage = Stage {
        world: &world,
        family: Family::V4,
        mariadb: &MariaDbTemplate::default(),
    };
    let mut narrator = Narrator::default();
    narrator.title("Sealane: mutual TLS between pods, by one agent per node")?;
    narrator
        .says("node-a runs shop/customer (curl) and wild/stranger, which is not in the mesh;")?;
    narrator.says(
        "node-b runs shop/web (nginx) and shop/database (MariaDB). Nothing in them knows of TLS.",
    )?;
    // A stranger that waits for a server to speak first is refused when this has passed.
    let shop = stage.shop_with("DISABLE", &["--handshake-timeout", "2s"])?;
    let _nginx = shop.nginx()?;
    for (title, play) in steps::ALL {
        narrator.step(title, |narrator| play(&shop, narrator))?;
    }
    let held = narrator.summary()?;
    if !held {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
