//! `sealane verify` as typed.

use clap::{Args, ValueEnum};

use super::QueryArgs;

/// What `sealane verify` was given.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only this pod of the node: NAMESPACE/NAME
    pub workload: Option<String>,

    /// Ask again every two seconds until interrupted; with -o json one record per line. Exits with the worst that was
    /// seen
    #[arg(short, long)]
    pub watch: bool,

    #[command(flatten)]
    pub query: QueryArgs,
}

/// What the agent does on the wire of pods.
#[derive(Debug, Args)]
pub struct WireArgs {
    /// Whether programs on the pods' interfaces follow what is on the wire, for `sealane verify` and metrics: on or off
    #[arg(
        long,
        value_name = "SWITCH",
        env = "SEALANE_ATTESTATION",
        default_value = "on"
    )]
    pub attestation: Switch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}
