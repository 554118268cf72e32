//! tcpdump on a pod's interface.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::require;
use crate::{
    enter,
    pcap::{self, Flow, Segment},
    pod::Pod,
    process::Process,
    wait::until_true,
    world::World,
};

const LIMIT: Duration = Duration::from_secs(10);
/// Of a packet: an Ethernet header with tags, and the longest that is offloaded.
const SNAPSHOT: &str = "65600";
/// In KiB. libpcap reserves a whole snapshot for each packet that comes at once (`--immediate-mode`): with its own
/// sizes, 2 MiB and 256 KiB, there is room for eight.
const BUFFER: &str = "16384";

/// A running capture of one TCP port.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
    port: u16,
}

impl Capture {
    /// Captures TCP packets of `port` on the pod's `eth0`; returns once packets are being taken.
    ///
    /// # Errors
    /// When tcpdump doesn't start.
    pub fn start(world: &World, pod: &Pod, port: u16) -> Result<Self> {
        require("tcpdump")?;
        let file = world.scratch("capture")?.join("wire.pcap");
        // Outside the pod's cgroup, as an operator would.
        let mut command = enter::command(Some(&pod.netns.path()), None, "tcpdump")?;
        command.args(["-i", "eth0", "-U", "--immediate-mode", "-n"]);
        command.args(["-s", SNAPSHOT, "-B", BUFFER, "-Z", "root", "-w"]);
        command.arg(&file);
        command.args(["tcp", "port", &port.to_string()]);
        let mut process = pod.spawn("tcpdump", command)?;
        until_true("tcpdump to capture", LIMIT, || {
            process.still_runs()?;
            Ok(process.stderr()?.contains("listening on"))
        })?;
        Ok(Self {
            process,
            file,
            port,
        })
    }

    /// Waits until a connection to the port has ended on the wire, stops and returns both directions of all.
    ///
    /// # Errors
    /// When none ends in time, or bytes are missing.
    pub fn finish(self) -> Result<Vec<Flow>> {
        until_true("a connection to end on the wire", LIMIT, || {
            Ok(self.ended(&pcap::segments(&self.file)?))
        })?;
        pcap::flows(&self.stop()?)
    }

    /// Stops, and returns what has been captured, as it came; under load the kernel may have left segments out.
    ///
    /// # Errors
    /// When tcpdump fails, or its file can't be read.
    pub fn stop(self) -> Result<Vec<Segment>> {
        pcap::segments(&self.save()?)
    }

    /// Waits until so many bytes of TCP payload have been captured, without repetitions.
    ///
    /// # Errors
    /// When they aren't in time.
    pub fn wait_bytes(&self, bytes: usize) -> Result<()> {
        until_true("all bytes to be captured", LIMIT, || {
            let flows = pcap::flows(&pcap::segments(&self.file)?);
            let captured = |flows: Vec<Flow>| flows.iter().map(|f| f.payload.len()).sum::<usize>();
            Ok(flows.is_ok_and(|flows| captured(flows) >= bytes))
        })
    }

    /// Stops, and returns the file.
    ///
    /// # Errors
    /// When tcpdump fails.
    pub fn save(mut self) -> Result<PathBuf> {
        self.process.signal(Signal::INT)?;
        self.process.wait(LIMIT)?.success().context("tcpdump")?;
        Ok(self.file)
    }

    /// A reset, or the end of both directions.
    fn ended(&self, segments: &[Segment]) -> bool {
        let from_server = |s: &&Segment| s.source.port() == self.port;
        let reset = segments.iter().any(|segment| segment.rst);
        let fins = segments.iter().filter(|segment| segment.fin);
        let (servers, clients): (Vec<_>, Vec<_>) = fins.partition(from_server);
        reset || (!servers.is_empty() && !clients.is_empty())
    }
}
