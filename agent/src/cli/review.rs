//! The commands about policy as typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DEFAULT_SOCKET, MeshArgs, OutputFormat, QueryArgs};

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
    /// NAMESPACE/POD, NAMESPACE/SERVICE or an address; without one, what pods of the mesh would do
    pub client: Option<String>,
    /// Only this one: NAMESPACE/POD, NAMESPACE/SERVICE, a host name or an address, with or without :PORT. Without
    /// CLIENT a host name, or what has a :PORT (such as `tls-check shop/web:80`): any other name alone is the CLIENT
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
    /// Warns of what is probably not meant: hosts that nobody has and selectors that match no pod (if there are any
    /// services or pods among the documents), principals that match nobody, directories that are not read.
    ///
    /// Needs no agent and no root. Exits with 0 when there is nothing wrong but what it warns of, 1 when there is, or
    /// when there is no document at all, 2 when the path can't be read.
    Lint(LintArgs),
    /// Tell which flows a candidate policy would cut, and which it would newly allow.
    ///
    /// The candidate's documents are laid over those in force as `kubectl apply` would: one of the same kind,
    /// namespace and name is replaced, others are added. Nothing is applied.
    ///
    /// An agent is asked for the flows that its node's pods have seen. With --from, a directory is asked instead,
    /// without agent and root: for the flows that `sealane flows -o json` printed on agents, or for all connections of
    /// its pods that are possible, as `sealane explain` sees them: by pod and by service, also to servers outside of
    /// the mesh.
    ///
    /// A flow is cut when it is allowed now and would be refused. Clients in the mesh that would be told to send
    /// mutual TLS instead of plaintext are not cut; what they have open in plaintext ends once. Policy that other
    /// nodes' agents enforce on their own clients is not looked at, but for conflicts with destination rules, and for
    /// where VirtualServices send new connections. Where it is not known what a client has asked for, that is said.
    ///
    /// Exits with 0 when nothing would be cut or sent unencrypted (flows may be newly allowed), 1 when something
    /// would or may be, 2 on an error, a candidate that is invalid included.
    Diff(DiffArgs),
}

/// What `sealane policy diff` was given.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Directory (or file) with the candidate's documents: *.yaml, *.yml and *.json are one set
    #[arg(value_name = "DIR", required_unless_present = "files")]
    pub dir: Option<PathBuf>,
    /// File with documents of the candidate; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Take the candidate for all policy there is: what is in force and not among its documents is gone
    #[arg(long)]
    pub replace: bool,
    /// For how long back an agent is asked (1s to 24h; see --flow-retention of `sealane agent`)
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub last: String,
    /// With --from: try the flows of this file, the output of `sealane flows -o json`; may be repeated, for one
    /// file of each node
    #[arg(long, value_name = "FILE", requires = "from")]
    pub flows: Vec<PathBuf>,
    #[command(flatten)]
    pub ask: AskArgs,
}

/// What `sealane flows` was given.
#[derive(Debug, Args)]
pub struct FlowsArgs {
    /// For how long back (1s to 24h)
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub last: String,
    #[command(flatten)]
    pub query: QueryArgs,
}

/// What `sealane certs` was given.
#[derive(Debug, Args)]
pub struct CertsArgs {
    /// Print the certificates themselves, each chain behind its identity
    #[arg(long, conflicts_with = "output")]
    pub pem: bool,
    #[command(flatten)]
    pub query: QueryArgs,
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
