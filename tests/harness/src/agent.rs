//! The product: starts a node's agent, asks it, ends it.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    enter, http,
    metrics::Metrics,
    objects::Objects,
    operator::Operator,
    pace,
    pod::{Family, NodeName},
    process::{Output, Process},
    sockets::PATIENCE,
    wait::{until, until_true},
    world::World,
};

/// The agent's admin port, in the node's own network namespace.
const ADMIN_PORT: u16 = 15020;
const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(40);

/// A running agent. Dropping it kills it; what it pinned stays until its world goes.
#[derive(Debug)]
pub struct Agent {
    pub node: NodeName,
    process: Process,
    netns: PathBuf,
    operator: Operator,
}

impl Agent {
    /// Starts the agent of a node and doesn't wait for it. On a slow machine it only watches the wire when it is told to.
    ///
    /// # Errors
    /// When the process can't be made.
    pub fn start(world: &World, name: NodeName, flags: &[&str]) -> Result<Self> {
        let node = world.node(name);
        let binary = world.run.product("sealane")?;
        let netns = node.netns.path();
        let program = binary.to_string_lossy();
        let mut command = enter::command(Some(&netns), Some(&node.agent_cgroup), &program)?;
        command.arg("agent").args(["--node", name.name()]);
        if !flags.contains(&"--kubeconfig") {
            command.arg("--source").arg(&node.source);
        }
        command.arg("--cgroup-root").arg(node.cgroup.path());
        command.arg("--bpffs").arg(&node.bpffs);
        command.arg("--ca-dir").arg(&world.ca);
        command.arg("--socket").arg(&node.socket);
        command.arg("--admin").arg(admin().to_string());
        if !flags.contains(&"--log-level") {
            command.args(["--log-level", "debug,aya=info,aya_obj=info"]);
        }
        if pace::is_slow() && !flags.contains(&"--attestation") {
            // The verifier would take a second for the program that follows the wire, in each agent's life.
            command.args(["--attestation", "off"]);
        }
        command.args(flags);
        let process = Process::spawn(&format!("agent-{}", name.name()), &world.logs, command)?;
        Ok(Self {
            node: name,
            process,
            netns,
            operator: Operator {
                binary: binary.clone(),
                socket: node.socket.clone(),
                logs: world.logs.clone(),
            },
        })
    }

    /// Waits until `/readyz` says so.
    ///
    /// # Errors
    /// When the agent ended, or isn't ready in time; tells what was missing.
    pub fn wait_ready(&mut self) -> Result<()> {
        let mut last = String::new();
        let ready = until("the agent to be ready", START, || {
            self.process.still_runs()?;
            Ok(match self.get("/readyz") {
                Ok((200, _)) => Some(()),
                Ok((_, body)) => {
                    last = body;
                    None
                }
                Err(error) => {
                    last = format!("{error:#}");
                    None
                }
            })
        });
        ready.with_context(|| format!("{} said last: {last}", self.node.name()))
    }

    /// `GET path` of the admin address: status code and body.
    ///
    /// # Errors
    /// When nobody answers there or the answer isn't HTTP.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        http::get(&self.netns, admin(), path)
    }

    /// Scrapes `/metrics`.
    ///
    /// # Errors
    /// When it can't be had or read.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.metrics_text()?)
    }

    /// `/metrics` as it came.
    ///
    /// # Errors
    /// When it can't be had.
    pub fn metrics_text(&self) -> Result<String> {
        match self.get("/metrics")? {
            (200, body) => Ok(body),
            (code, body) => bail!("/metrics: {code}: {body}"),
        }
    }

    /// An operator's command against this agent: `sealane ARGUMENTS --socket …`.
    ///
    /// # Errors
    /// When it can't be run.
    pub fn operator(&self, arguments: &[&str]) -> Result<Output> {
        self.operator.run(arguments)
    }

    /// `sealane ARGUMENTS --socket …`, until it is told to stop.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn operate(&self, arguments: &[&str]) -> Result<Process> {
        self.operator.start(arguments)
    }

    /// What `sealane COMMAND -o json` prints; `status` may exit with 1 for an agent that isn't ready.
    ///
    /// # Errors
    /// When it fails or doesn't print JSON.
    pub fn json(&self, command: &str) -> Result<Value> {
        self.operator.json(command)
    }

    /// # Errors
    /// As [`Agent::json`].
    pub fn status(&self) -> Result<Value> {
        self.json("status")
    }

    /// The live table.
    ///
    /// # Errors
    /// As [`Agent::json`].
    pub fn connections(&self) -> Result<Vec<Value>> {
        rows(self.json("connections")?)
    }

    /// # Errors
    /// As [`Agent::json`].
    pub fn certificates(&self) -> Result<Vec<Value>> {
        rows(self.json("certs")?)
    }

    /// Waits until `condition` holds for [`Agent::status`].
    ///
    /// # Errors
    /// When it doesn't in time; tells the last status.
    pub fn wait_status(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Result<()> {
        let mut last = Value::Null;
        until_true(what, PATIENCE, || {
            last = self.status()?;
            Ok(condition(&last))
        })
        .with_context(|| format!("last status of {}: {last:#}", self.node.name()))
    }

    /// Waits until a pod of this node is, or is no longer, in the mesh.
    ///
    /// # Errors
    /// When that doesn't happen in time.
    pub fn wait_enrolled(&self, pod: &crate::Pod, enrolled: bool) -> Result<()> {
        let name = format!("{}/{}", pod.spec.namespace, pod.spec.name);
        let what = format!("enrolled = {enrolled} for {name}");
        self.wait_status(&what, |status| {
            let state = workload(status, &name).and_then(|w| w["state"].as_str());
            (state == Some("enrolled")) == enrolled
        })
    }

    /// Waits until this agent has read its source as it is now. What follows from it may take effect a moment
    /// later.
    ///
    /// # Errors
    /// When that doesn't happen in time.
    pub fn wait_current(&self, objects: &Objects) -> Result<()> {
        // What was being read at the moment of the change is done by then, and the agent waits longer before
        // it reads what has just been written.
        const READING: SignedDuration = SignedDuration::from_millis(15);
        let since = objects.changed() + READING;
        self.wait_status("the source to be read", |status| {
            status["source"]["loaded_at"]
                .as_str()
                .and_then(|at| at.parse().ok())
                .is_some_and(|at: Timestamp| at > since)
        })
    }

    /// Waits until a pod of this node has the mode.
    ///
    /// # Errors
    /// When that doesn't happen in time.
    pub fn wait_mode(&self, pod: &crate::Pod, mode: &str) -> Result<()> {
        let name = format!("{}/{}", pod.spec.namespace, pod.spec.name);
        self.wait_status(&format!("mode {mode} for {name}"), |status| {
            workload(status, &name).is_some_and(|w| w["mode"] == mode)
        })
    }

    /// Memory that it holds, in KiB: `VmRSS` of proc_pid_status(5).
    ///
    /// # Errors
    /// When it is gone.
    pub fn rss_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        kib(&status, "VmRSS:")
    }

    /// The most memory that it ever held, in KiB: `VmHWM` of proc_pid_status(5).
    ///
    /// # Errors
    /// When it is gone.
    pub fn peak_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        kib(&status, "VmHWM:")
    }

    /// Memory that is its own, in KiB, counted page by page (proc_pid_smaps(5)): `VmRSS` is an estimate and has
    /// the program's file in it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn own_kib(&self) -> Result<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.pid()))?;
        kib(&rollup, "Anonymous:")
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Open files.
    ///
    /// # Errors
    /// When it is gone.
    pub fn open_files(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.process.pid()))?.count())
    }

    /// Its log so far.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn log(&self) -> Result<String> {
        self.process.stderr()
    }

    /// # Errors
    /// When it has ended, with what it said.
    pub fn still_runs(&mut self) -> Result<()> {
        self.process.still_runs()
    }

    /// SIGTERM, without waiting for the end.
    ///
    /// # Errors
    /// When it is gone.
    pub fn begin_stop(&self) -> Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub fn ended(&mut self) -> Result<bool> {
        self.process.ended()
    }

    /// Waits for the end after [`Agent::begin_stop`].
    ///
    /// # Errors
    /// When it doesn't end, or not with success.
    pub fn wait_end(&mut self) -> Result<Output> {
        self.process.wait(STOP)?.success()
    }

    /// SIGKILL: what a crash looks like.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(STOP)?;
        Ok(())
    }

    /// `sealane cleanup` for this node.
    ///
    /// # Errors
    /// When it fails.
    pub fn cleanup(&self, world: &World) -> Result<Output> {
        let mut command = enter::command(None, None, &self.operator.binary.to_string_lossy())?;
        command.arg("cleanup").arg("--bpffs");
        command.arg(&world.node(self.node).bpffs);
        Process::run("sealane-cleanup", &self.operator.logs, command, PATIENCE)?.success()
    }
}

/// The entry of a workload in a status.
#[must_use]
pub fn workload<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    status["workloads"]
        .as_array()?
        .iter()
        .find(|workload| workload["name"] == name)
}

fn rows(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(rows) => Ok(rows),
        other => bail!("not a list: {other}"),
    }
}

/// A line of a file of /proc in which numbers have units.
fn kib(text: &str, name: &str) -> Result<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .with_context(|| format!("no {name}"))
}

fn admin() -> SocketAddr {
    SocketAddr::new(Family::V4.loopback(), ADMIN_PORT)
}
