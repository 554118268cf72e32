//! Envoy, told what Istio tells its sidecars: the other implementation that Sealane's wire must suit.
//!
//! There is no Istio here: ports take the place of iptables' redirection, and files that of its secrets.

mod sidecar;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

pub use sidecar::{Accepts, Inbound, Mode, Outbound, Protocol, Tls, TlsVersion};

use crate::{pod::Pod, process::Process, world::World};

/// Where `cargo xtask setup` puts the program, in cargo's target directory.
const PROGRAM: &str = "envoy/envoy/_bin/envoy";

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    _process: Process,
}

impl Envoy {
    /// Starts a sidecar of a server in `pod` and waits until it listens.
    ///
    /// # Errors
    /// When Envoy isn't there or doesn't start.
    pub fn inbound(world: &World, pod: &Pod, inbound: &Inbound) -> Result<Self> {
        Self::start(world, pod, &inbound.configuration(), inbound.port)
    }

    /// Starts a sidecar of a client in `pod` and waits until it listens.
    ///
    /// # Errors
    /// When Envoy isn't there or doesn't start.
    pub fn outbound(world: &World, pod: &Pod, outbound: &Outbound) -> Result<Self> {
        Self::start(world, pod, &outbound.configuration(), Outbound::PORT)
    }

    fn start(
        world: &World,
        pod: &Pod,
        configuration: &serde_json::Value,
        port: u16,
    ) -> Result<Self> {
        let program = program()?;
        let file = world.scratch("envoy")?.join("envoy.json");
        fs::write(&file, serde_json::to_vec_pretty(configuration)?)?;
        let mut command = pod.command(&program.to_string_lossy())?;
        command.arg("--config-path").arg(file);
        // Hot restart needs names that other Envoys of the machine may have.
        command.args(["--disable-hot-restart", "--concurrency", "1"]);
        command.args(["--log-level", "warning"]);
        let process = pod.spawn("envoy", command)?;
        pod.wait_listening(port)?;
        Ok(Self { _process: process })
    }
}

fn program() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let target = own
        .ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").is_file())
        .or_else(|| own.parent().and_then(Path::parent));
    let program = target.context("no target directory")?.join(PROGRAM);
    if !program.is_file() {
        bail!("no Envoy at {}: run `cargo xtask setup`", program.display());
    }
    Ok(program)
}
