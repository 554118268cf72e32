//! What can go wrong with capture, each naming the thing and the remedy.

use std::{io, path::PathBuf};

use super::netns::NetnsError;

/// Loading, attaching or pinning failed: nothing can be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(
        "{path}: not on a bpf file system; mount one on the node with `mount -t bpf bpf /sys/fs/bpf` (where nodes are \
         containers, as with kind: `docker exec NODE mount -t bpf bpf /sys/fs/bpf`) or choose another place with --bpffs"
    )]
    NotBpffs { path: PathBuf },
    #[error("{path}: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error(
        "cgroup root {path}: {source}; choose the pods' cgroup v2 directory with --cgroup-root"
    )]
    CgroupRoot { path: PathBuf, source: io::Error },
    #[error("own cgroup: {0}")]
    OwnCgroup(io::Error),
    #[error("load eBPF object: {0}")]
    Load(#[from] Box<aya::EbpfError>),
    #[error("eBPF object has no {0}: the agent was built wrongly")]
    MissingGlobal(&'static str),
    #[error("eBPF program {name}: {source}")]
    Program {
        name: &'static str,
        source: Box<aya::programs::ProgramError>,
    },
    #[error("eBPF program {0} is missing in the object: the agent was built wrongly")]
    MissingProgram(&'static str),
    #[error("eBPF map {name}: {source}")]
    Map {
        name: &'static str,
        source: Box<aya::maps::MapError>,
    },
    #[error("eBPF map {0} is missing in the object: the agent was built wrongly")]
    MissingMap(&'static str),
    #[error("pin {path}: {source}")]
    Pin {
        path: PathBuf,
        source: Box<aya::pin::PinError>,
    },
    #[error("link {path}: {source}")]
    Link {
        path: PathBuf,
        source: Box<aya::programs::links::LinkError>,
    },
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error("event ring: {0}")]
    Events(io::Error),
}

/// One pod can't be enrolled; the others are not affected.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error("{0} is the node's own network namespace: pods with hostNetwork are not enrolled")]
    NodeNamespace(PathBuf),
    #[error("network namespace {path} is already enrolled for {other}")]
    SharedNamespace { path: PathBuf, other: String },
    #[error("cgroup {path}: {source}")]
    Cgroup { path: PathBuf, source: io::Error },
    #[error("cgroup {path} does not lie below --cgroup-root {root}: its connections can't be seen")]
    CgroupOutside { path: PathBuf, root: PathBuf },
    #[error("listen on {address} in the pod: {source}; is its loopback interface up?")]
    Listen {
        address: &'static str,
        source: io::Error,
    },
    #[error("list listening sockets of the pod: {0}")]
    Listening(io::Error),
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

impl EnrolError {
    /// A short name for a metric label; the set is closed.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Netns(_) => "netns",
            Self::NodeNamespace(_) => "node_namespace",
            Self::SharedNamespace { .. } => "shared_namespace",
            Self::Cgroup { .. } | Self::CgroupOutside { .. } => "cgroup",
            Self::Listen { .. } => "listen",
            Self::Listening(_) => "listening",
            Self::Capture(_) => "capture",
        }
    }
}
