//! The command line as typed. Does not judge it: `config` does, and says what to do about it.

mod ca;
mod capture;
mod gateway;
mod keep;
mod log;
mod preflight;
mod review;
mod serve;
mod source;
mod trust;
mod usage;
mod verify;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

pub use ca::{CaArgs, CaCommand, CaIssueArgs, CaKeyType, CaRotateArgs, CaServeArgs, CaWhichArgs};
pub use capture::CaptureArgs;
pub use gateway::GatewayArgs;
pub use keep::CaKeepArgs;
pub use log::LogArgs;
pub use preflight::PreflightArgs;
pub use review::{
    AskArgs, AuthzCheckArgs, CertsArgs, DiffArgs, ExplainArgs, FlowsArgs, LintArgs, PolicyCommand,
    TlsCheckArgs,
};
pub use trust::TrustArgs;

pub use serve::ServeArgs;
pub use source::{NodePodsArgs, SourceArgs, UnknownPods};
pub use usage::{asks_for_json, complaint};
pub use verify::{Switch, VerifyArgs, WireArgs};

/// Where the agent listens for the operator's commands unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/sealane/agent.sock";
/// Where programs and maps are pinned unless told otherwise.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf/sealane";

/// Mutual TLS between pods: one agent per node, no sidecar, no change to the pods.
#[derive(Debug, Parser)]
#[command(
    name = "sealane",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent of this node.
    ///
    /// Takes over the TCP connections of the node's enrolled pods and gives them mutual TLS. Needs root and
    /// a kernel with BTF. Is ready when /readyz of --admin answers 200 and the log says `ready`; SIGTERM or
    /// SIGINT drains and stops it.
    Agent(Box<AgentArgs>),
    /// Run a gateway: take connections from outside of the mesh as Istio's Gateways say, and forward them.
    ///
    /// An ordinary program in an ordinary pod, without privileges. TLS ends here where a Gateway says so; where its pod
    /// is in the mesh, the agent of its node makes what goes on from here mutual TLS. Is ready when /readyz of --admin
    /// answers 200.
    Gateway(Box<GatewayArgs>),
    /// Tell how the agent is: source, CA, capture and workloads.
    ///
    /// Exits with 0 when the agent is ready, 1 when it is not, 2 when it can't be asked.
    Status(QueryArgs),
    /// List the connections that go through the agent at this moment.
    Connections(QueryArgs),
    /// List the certificates that the agent holds for the pods of its node.
    Certs(CertsArgs),
    /// List who came to the pods of this node, and how protected.
    ///
    /// Connections of one client to one port are one flow, those that policy refused included. Handshakes that
    /// failed are not in it, and connections that did not come through the agent only while they are open.
    Flows(FlowsArgs),
    /// Tell of each connection at the pods' interfaces whether TLS records were on the wire, and nothing else.
    ///
    /// This shows framing and the presence of a handshake, not cryptography. Exits with 0 when all connections are
    /// ENCRYPTED, 1 when one is PLAINTEXT, 3 when one is UNKNOWN or a pod isn't watched, 2 on an error.
    Verify(VerifyArgs),
    /// Record the packets of one pod: what is on its wire, with the identities of those who talk.
    ///
    /// Writes a line per packet, or with -w a pcapng file, for Wireshark and tshark: comments say whose each connection
    /// is, and what was proven. Stops on SIGINT, and tells how many packets had no room. Needs CAP_NET_RAW of the agent.
    Capture(CaptureArgs),
    /// Explain what becomes of a connection, step by step, and which documents decide.
    ///
    /// Exits with 0 when it is allowed, 1 when it is not, 2 on an error.
    Explain(ExplainArgs),
    /// Check whether what a client sends is what servers take, port by port.
    ///
    /// Exits with 0 when all agree, 1 when there is a CONFLICT, 2 on an error.
    TlsCheck(TlsCheckArgs),
    /// Tell what a workload takes on each of its ports: mode, certificate, authorization policies.
    AuthzCheck(AuthzCheckArgs),
    /// Check policy documents before they are applied.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Run the CA of the mesh as a service, or issue certificates from its files.
    #[command(subcommand)]
    Ca(CaCommand),
    /// Tell what this node has of what an agent needs, and what works without the rest.
    ///
    /// Tries what an agent does: loads its programs and attaches them for a moment, has the kernel do TLS between two
    /// sockets. Changes nothing and captures nothing. To be run as the agent would be: as root, or in its container.
    /// Exits with 0 when an agent would work, 1 when something that it needs is missing, 2 on an error.
    Preflight(PreflightArgs),
    /// Remove what a stopped agent left pinned, so that the kernel no longer enforces anything.
    ///
    /// Connections that policy wants encrypted are direct and in clear afterwards.
    Cleanup(CleanupArgs),
}

impl Command {
    /// How what it tells is to look; `None`: it doesn't answer questions.
    #[must_use]
    pub fn output(&self) -> Option<OutputFormat> {
        match self {
            Self::Status(query) | Self::Connections(query) => Some(query.output),
            Self::Certs(args) => Some(args.query.output),
            Self::Flows(args) => Some(args.query.output),
            Self::Verify(args) => Some(args.query.output),
            Self::Capture(args) => Some(args.query.output),
            Self::Explain(args) => Some(args.ask.output),
            Self::TlsCheck(args) => Some(args.ask.output),
            Self::AuthzCheck(args) => Some(args.ask.output),
            Self::Policy(PolicyCommand::Lint(args)) => Some(args.output),
            Self::Policy(PolicyCommand::Diff(args)) => Some(args.ask.output),
            Self::Ca(CaCommand::Status(args)) => Some(args.output),
            Self::Ca(CaCommand::Rotate(args)) => Some(args.which.output),
            Self::Preflight(args) => Some(args.output),
            Self::Ca(CaCommand::Serve(_) | CaCommand::Keep(_) | CaCommand::Issue(_))
            | Self::Agent(_)
            | Self::Gateway(_)
            | Self::Cleanup(_) => None,
        }
    }
}

/// What `sealane agent` was given. Durations are a number with a unit: 100ms, 5s, 1m30s, 24h.
#[derive(Debug, Args)]
#[command(args_override_self = true, group = ArgGroup::new("where_objects_are").required(true))]
pub struct AgentArgs {
    /// Name of this node, as in the pods' spec.nodeName
    #[arg(long, value_name = "NAME", env = "SEALANE_NODE")]
    pub node: String,

    #[command(flatten)]
    pub source: SourceArgs,

    #[command(flatten)]
    pub wire: WireArgs,

    #[command(flatten)]
    pub node_pods: NodePodsArgs,

    /// Directory with a subdirectory per namespace that has the certificates and keys which DestinationRules may name for
    /// clients of that namespace
    /// [default: /etc/sealane/client-files on a cluster; with --source they may name any file of the node]
    #[arg(long, value_name = "DIR", env = "SEALANE_CLIENT_FILES")]
    pub client_files: Option<PathBuf>,

    /// Directory of the cgroup v2 hierarchy that holds all pods of this node
    /// [default: where cgroup2 is mounted]
    #[arg(long, value_name = "DIR", env = "SEALANE_CGROUP_ROOT")]
    pub cgroup_root: Option<PathBuf>,

    /// Cgroup in which this node's kubelet runs, as a directory: its probes reach pods in clear where they declare them
    /// [default: that of the process of root that listens on TCP port 10250]
    #[arg(long, value_name = "DIR", env = "SEALANE_KUBELET_CGROUP")]
    pub kubelet_cgroup: Option<PathBuf>,

    /// Directory in a BPF file system where programs and maps are pinned, one per agent
    #[arg(long, value_name = "DIR", env = "SEALANE_BPFFS", default_value = DEFAULT_BPFFS)]
    pub bpffs: PathBuf,

    #[command(flatten)]
    pub ca: CaArgs,

    #[command(flatten)]
    pub mesh: MeshArgs,

    #[command(flatten)]
    pub trust: TrustArgs,

    /// Address and port of /metrics, /healthz and /readyz
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "SEALANE_ADMIN",
        default_value = "127.0.0.1:15020"
    )]
    pub admin: String,

    /// Unix socket on which the agent answers status, connections and certs
    #[arg(long, value_name = "PATH", env = "SEALANE_SOCKET", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,

    /// How long after the agent's last sign of life the kernel takes it for lost: STRICT then refuses new
    /// connections, PERMISSIVE lets them pass directly (1s to 1h)
    #[arg(
        long,
        value_name = "DURATION",
        env = "SEALANE_LEASE",
        default_value = "5s"
    )]
    pub lease: String,

    /// How long a client that the mesh doesn't know may stay silent before it counts as plaintext, for
    /// protocols in which the server speaks first (1ms to 30s)
    #[arg(
        long,
        value_name = "DURATION",
        env = "SEALANE_DETECT_TIMEOUT",
        default_value = "100ms"
    )]
    pub detect_timeout: String,

    /// For how long flows are remembered, to try policies on: at most 4096, the quietest are forgotten first
    /// (1s to 24h)
    #[arg(
        long,
        value_name = "DURATION",
        env = "SEALANE_FLOW_RETENTION",
        default_value = "1h"
    )]
    pub flow_retention: String,

    /// Life of the pods' certificates, renewed after half of it (10s to 24h)
    #[arg(
        long,
        value_name = "DURATION",
        env = "SEALANE_SVID_TTL",
        default_value = "24h"
    )]
    pub svid_ttl: String,

    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What the commands that ask a running agent were given.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// Unix socket of the agent
    #[arg(long, value_name = "PATH", env = "SEALANE_SOCKET", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}

/// What objects don't say themselves.
#[derive(Debug, Args)]
pub struct MeshArgs {
    /// Trust domain of the identities: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT
    #[arg(
        long,
        value_name = "NAME",
        env = "SEALANE_TRUST_DOMAIN",
        default_value = "cluster.local"
    )]
    pub trust_domain: String,

    /// Other trust domains that principals in policies may have and mean this mesh by; may be repeated
    #[arg(
        long = "trust-domain-alias",
        value_name = "NAME",
        env = "SEALANE_TRUST_DOMAIN_ALIASES",
        value_delimiter = ','
    )]
    pub trust_domain_aliases: Vec<String>,

    /// Domain of the cluster's services: NAME.NAMESPACE.svc.CLUSTER-DOMAIN
    #[arg(
        long,
        value_name = "NAME",
        env = "SEALANE_CLUSTER_DOMAIN",
        default_value = "cluster.local"
    )]
    pub cluster_domain: String,

    /// Namespace whose policy documents hold for the whole mesh
    #[arg(
        long,
        value_name = "NAME",
        env = "SEALANE_ROOT_NAMESPACE",
        default_value = "istio-system"
    )]
    pub root_namespace: String,
}

/// What `sealane cleanup` was given.
#[derive(Debug, Args)]
pub struct CleanupArgs {
    /// Directory in a BPF file system where the agent pinned its programs and maps
    #[arg(long, value_name = "DIR", env = "SEALANE_BPFFS", default_value = DEFAULT_BPFFS)]
    pub bpffs: PathBuf,
}

/// How connections use the kernel's TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ktls {
    /// Whatever the kernel can
    Auto,
    /// Without splice
    Copy,
    /// Not at all
    Off,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// How answers look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people; without lines and colours when not written to a terminal
    Table,
    /// The agent's answer as it came, for scripts; `{"error": …}` where there is none
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let cli = Cli::parse_from(["sealane", "agent", "--node", "a", "--source", "/objects"]);
        let Command::Agent(args) = cli.command else {
            panic!("agent expected");
        };
        assert_eq!(args.bpffs, PathBuf::from("/sys/fs/bpf/sealane"));
        assert_eq!(args.ca.ca_dir, PathBuf::from("/var/lib/sealane/ca"));
        assert_eq!(args.admin, "127.0.0.1:15020");
        assert_eq!(args.socket, PathBuf::from("/run/sealane/agent.sock"));
        assert_eq!(args.serve.log.log_format, LogFormat::Text);
    }

    #[test]
    fn node_and_source_are_required() {
        assert!(Cli::try_parse_from(["sealane", "agent", "--source", "/objects"]).is_err());
        assert!(Cli::try_parse_from(["sealane", "agent", "--node", "a"]).is_err());
        let cluster = ["sealane", "agent", "--node", "a", "--kubernetes"];
        assert!(Cli::try_parse_from(cluster).is_ok());
        let both = cluster.into_iter().chain(["--source", "/objects"]);
        assert!(Cli::try_parse_from(both).is_err());
    }

    #[test]
    fn queries_print_tables_unless_told() {
        let cli = Cli::parse_from(["sealane", "status", "-o", "json"]);
        assert!(matches!(
            cli.command,
            Command::Status(QueryArgs {
                output: OutputFormat::Json,
                ..
            })
        ));
        let cli = Cli::parse_from(["sealane", "connections"]);
        assert!(matches!(
            cli.command,
            Command::Connections(QueryArgs {
                output: OutputFormat::Table,
                ..
            })
        ));
    }
}
