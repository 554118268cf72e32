//! `sealane verify` as typed.

use clap::Args;

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
