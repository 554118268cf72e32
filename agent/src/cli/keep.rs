//! `sealane ca keep` as typed.

use std::path::PathBuf;

use clap::Args;

use super::{LogArgs, ca::DEFAULT_CA_DIR};

/// What `sealane ca keep` was given.
#[derive(Debug, Args)]
pub struct CaKeepArgs {
    /// Directory of the CA, as `sealane ca serve` has it in --ca-dir
    #[arg(
        long,
        value_name = "DIR",
        env = "SEALANE_CA_DIR",
        default_value = DEFAULT_CA_DIR
    )]
    pub directory: PathBuf,

    /// Secret that holds the CA's files. It has to be there, and may be empty
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub secret: String,

    /// ConfigMap that gets the roots, as root.crt. It has to be there
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub roots: String,

    /// Trust domain of a root that is made because there is none
    #[arg(
        long,
        value_name = "NAME",
        env = "SEALANE_TRUST_DOMAIN",
        default_value = "cluster.local"
    )]
    pub trust_domain: String,

    /// Longest life of a certificate, as `sealane ca serve` is told
    #[arg(
        long,
        value_name = "DURATION",
        env = "SEALANE_CA_MAX_TTL",
        default_value = "24h"
    )]
    pub max_ttl: String,

    /// How the API server is reached [default: as pods do, by their service account]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Return when they agree
    #[arg(long)]
    pub once: bool,

    #[command(flatten)]
    pub log: LogArgs,
}
