//! The commands about policy as typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DEFAULT_SOCKET, MeshArgs, OutputFormat};

/// Whom the commands about policy ask: an agent, or a directory.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// Directory with Kubernetes and Istio objects to ask instead of an agent, such as the output of
    /// `kubectl get ns,pods,svc,endpointslices,peerauthentications,authorizationpolicies,destinationrules -A -o yaml`
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,

    /// Unix socket of the agent
    #[arg(long, value_name = "PATH", env = "SEALANE_SOCKET", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,

    #[command(flatten)]
    pub mesh: MeshArgs,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}

/// What `sealane explain` was given.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// NAMESPACE/POD, NAMESPACE/SERVICE or an address
    pub client: String,
    /// NAMESPACE/POD:PORT, NAMESPACE/SERVICE:PORT, HOST:PORT or ADDRESS:PORT
    pub server: String,
    #[command(flatten)]
    pub ask: AskArgs,
}

/// What `sealane tls-check` was given.
#[derive(Debug, Args)]
pub struct TlsCheckArgs {
    /// NAMESPACE/POD, NAMESPACE/SERVICE or an address
    pub client: String,
    /// Only this one: NAMESPACE/POD, NAMESPACE/SERVICE or a host name, with or without :PORT
    pub server: Option<String>,
    #[command(flatten)]
    pub ask: AskArgs,
}

/// What `sealane authz-check` was given.
#[derive(Debug, Args)]
pub struct AuthzCheckArgs {
    /// NAMESPACE/POD, NAMESPACE/SERVICE or a pod's address
    pub workload: String,
    #[command(flatten)]
    pub ask: AskArgs,
}

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Read documents as the agent would, and tell what is wrong with them.
    ///
    /// Needs no agent and no root. Exits with 0 when there is nothing wrong, 1 when there is, 2 when the path can't
    /// be read.
    Lint(LintArgs),
}

/// What `sealane policy lint` was given.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// A file, or a directory whose *.yaml, *.yml and *.json are one set
    pub path: PathBuf,
    #[command(flatten)]
    pub mesh: MeshArgs,
    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}
