//! The product as a gateway: a program in a pod.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::{
    http,
    metrics::Metrics,
    operator::Operator,
    pod::{Family, Pod},
    process::{Output, Process},
    wait::until,
    world::World,
};

/// In the pod's own network namespace.
const ADMIN_PORT: u16 = 15021;
const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(40);

/// A running gateway. Dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    netns: PathBuf,
    pub operator: Operator,
}

impl Gateway {
    /// Starts one in `pod`, which reads what the agent of the pod's node reads, and doesn't wait for it.
    ///
    /// # Errors
    /// When the process can't be made.
    pub fn start(world: &World, pod: &Pod, flags: &[&str]) -> Result<Self> {
        let binary = world.run.product("sealane")?;
        let mut command = pod.command(&binary.to_string_lossy())?;
        command.arg("gateway").arg("--pod");
        command.arg(format!("{}/{}", pod.spec.namespace, pod.spec.name));
        command
            .arg("--source")
            .arg(&world.node(pod.spec.node).source);
        command.arg("--admin").arg(admin().to_string());
        let socket = world.scratch("gateway")?.join("gateway.sock");
        command.arg("--socket").arg(&socket);
        command.args(["--log-level", "debug"]).args(flags);
        Ok(Self {
            process: pod.spawn("gateway", command)?,
            netns: pod.netns.path(),
            operator: Operator {
                binary,
                socket,
                logs: world.logs.clone(),
            },
        })
    }

    /// Waits until `/readyz` says so.
    ///
    /// # Errors
    /// When it ended, or isn't ready in time; tells what was missing.
    pub fn wait_ready(&mut self) -> Result<()> {
        let mut last = String::new();
        let ready = until("the gateway to be ready", START, || {
            self.process.still_runs()?;
            last = match http::get(&self.netns, admin(), "/readyz") {
                Ok((200, _)) => return Ok(Some(())),
                Ok((_, body)) => body,
                Err(error) => format!("{error:#}"),
            };
            Ok(None)
        });
        ready.with_context(|| format!("the gateway said last: {last}"))
    }

    /// Scrapes `/metrics`.
    ///
    /// # Errors
    /// When it can't be had or read.
    pub fn metrics(&self) -> Result<Metrics> {
        match http::get(&self.netns, admin(), "/metrics")? {
            (200, body) => Metrics::parse(&body),
            (code, body) => bail!("/metrics: {code}: {body}"),
        }
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it doesn't end, or not with success.
    pub fn stop(&mut self) -> Result<Output> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(STOP)?.success()
    }
}

fn admin() -> SocketAddr {
    SocketAddr::new(Family::V4.loopback(), ADMIN_PORT)
}
