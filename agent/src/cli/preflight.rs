//! `sealane preflight` as typed.

use std::path::PathBuf;

use clap::Args;

use super::{DEFAULT_BPFFS, OutputFormat};

/// What `sealane preflight` was given.
#[derive(Debug, Args)]
pub struct PreflightArgs {
    /// Directory of the cgroup v2 hierarchy that holds all pods of this node
    /// [default: where cgroup2 is mounted]
    #[arg(long, value_name = "DIR", env = "SEALANE_CGROUP_ROOT")]
    pub cgroup_root: Option<PathBuf>,

    /// Directory in a BPF file system where the agent would pin its programs and maps
    #[arg(long, value_name = "DIR", env = "SEALANE_BPFFS", default_value = DEFAULT_BPFFS)]
    pub bpffs: PathBuf,

    /// Whether the agent is to watch the Kubernetes API: what it finds pods by is needed then
    #[arg(long, env = "SEALANE_KUBERNETES")]
    pub kubernetes: bool,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}
