//! The commands about the CA as typed, and what an agent is told of it.

use std::{num::NonZeroU32, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{CaKeepArgs, LogArgs, MeshArgs, OutputFormat, SourceArgs};

/// Where the CA service listens for the operator's commands unless told otherwise.
const DEFAULT_CA_SOCKET: &str = "/run/sealane/ca.sock";
pub(super) const DEFAULT_CA_DIR: &str = "/var/lib/sealane/ca";

/// Where an agent's certificates come from.
#[derive(Debug, Args)]
pub struct CaArgs {
    /// Directory of the embedded CA: ca.key and ca.crt, made when absent; root.crt holds further roots to
    /// trust
    #[arg(
        long,
        value_name = "DIR",
        env = "SEALANE_CA_DIR",
        default_value = DEFAULT_CA_DIR
    )]
    pub ca_dir: PathBuf,

    /// CA service that issues certificates instead of the embedded CA: `sealane ca serve`, istiod or another
    /// that speaks istio.v1.auth.IstioCertificateService
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "SEALANE_CA_ADDRESS",
        requires = "ca_roots"
    )]
    pub ca_address: Option<String>,

    /// PEM file of the roots that the CA service's own certificate must chain to. They are trusted for peers,
    /// too
    #[arg(
        long,
        value_name = "FILE",
        env = "SEALANE_CA_ROOTS",
        requires = "ca_address"
    )]
    pub ca_roots: Option<PathBuf>,

    /// File with the bearer token that the CA service is shown, read for each request
    #[arg(
        long,
        value_name = "FILE",
        env = "SEALANE_CA_TOKEN",
        requires = "ca_address"
    )]
    pub ca_token: Option<PathBuf>,

    /// Name that the CA service's certificate must have [default: the host of --ca-address]
    #[arg(
        long,
        value_name = "NAME",
        env = "SEALANE_CA_SERVER_NAME",
        requires = "ca_address"
    )]
    pub ca_server_name: Option<String>,

    /// Admin socket (admin_socket_path) of this node's SPIRE agent, which gives the pods' certificates instead of a CA:
    /// this agent must be one of its authorized_delegates. It renews them, --svid-ttl means nothing to it
    #[arg(
        long,
        value_name = "PATH",
        env = "SEALANE_SPIRE_AGENT_SOCKET",
        conflicts_with = "ca_address"
    )]
    pub spire_agent_socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Run the CA service: signs workload certificates over gRPC for agents, and for any client of Istio's
    /// istio.v1.auth.IstioCertificateService/CreateCertificate.
    ///
    /// Who asks proves who it is by a bound service-account token (--token-keys) or by its present certificate,
    /// and gets a certificate for its own identity. Node accounts (--node-account) may ask in the name of pods:
    /// of those that --source has on the node that their token names, and no others. Everything else is refused,
    /// counted in sealane_ca_requests_total and logged with both identities.
    ///
    /// Needs no root and no kernel feature. SIGTERM or SIGINT stops it after the requests in progress.
    Serve(Box<CaServeArgs>),
    /// Keep the directory of a CA in a Secret, and its roots in a ConfigMap.
    ///
    /// For a CA service in a pod, whose directory is gone with it: whichever of Secret and directory has changed is
    /// copied to the other. Without a CA in either a root is made. SIGTERM or SIGINT stops it.
    Keep(CaKeepArgs),
    /// Tell how the CA is: roots, expiry, rotation, what it has signed and refused.
    ///
    /// Exits with 0 when it is ready, 1 when it is not, 2 when it can't be asked.
    Status(CaWhichArgs),
    /// Change the CA's key without a failed handshake: its self-made root, or the intermediate under another CA.
    ///
    /// A new root is distributed first, until every certificate from before has been renewed, then signs, and the old
    /// one is believed until the last certificate under it has expired. That takes a little more than twice the
    /// longest life of a certificate; an intermediate under a known root signs at once. Whoever has the directory open
    /// goes on with it, also after a restart. Needs to write the directory, hence usually root.
    Rotate(CaRotateArgs),
    /// Issue a certificate from the files of a CA, or make a root or an intermediate.
    ///
    /// For what is not a pod: a root that two meshes share, gateways, clients outside of the mesh. Needs no service
    /// and no root. Writes ca.key and ca.crt with --root; these and root.crt with --intermediate; else tls.key,
    /// tls.crt and ca.crt, as `kubectl create secret generic` takes them for Istio's credentialName. Never overwrites
    /// a file.
    Issue(CaIssueArgs),
}

/// What `sealane ca issue` was given.
#[derive(Debug, Args)]
pub struct CaIssueArgs {
    /// Make a root that signs itself, with this name
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["ca_dir", "intermediate", "dns_names", "uris"]
    )]
    pub root: Option<String>,

    /// Make a CA under that of --ca-dir, with this name
    #[arg(
        long,
        value_name = "NAME",
        requires = "ca_dir",
        conflicts_with_all = ["dns_names", "uris"]
    )]
    pub intermediate: Option<String>,

    /// Host name or address that the certificate is for; may be repeated
    #[arg(
        long = "dns",
        value_name = "NAME",
        requires = "ca_dir",
        required_unless_present_any = ["root", "intermediate", "uris"]
    )]
    pub dns_names: Vec<String>,

    /// URI that the certificate is for, such as a SPIFFE ID; may be repeated
    #[arg(long = "uri", value_name = "URI", requires = "ca_dir")]
    pub uris: Vec<String>,

    /// Directory of the CA that signs: ca.key, ca.crt, root.crt, or the files of Istio's secret cacerts
    #[arg(long, value_name = "DIR")]
    pub ca_dir: Option<PathBuf>,

    /// Life of the certificate, but no longer than the CA's (1m to 7300d)
    /// [default: 2160h; CAs: 87600h]
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<String>,

    /// Kind of the new key
    #[arg(long, value_name = "KIND", default_value = "p256")]
    pub key_type: CaKeyType,

    /// Existing directory for the files
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Kinds of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CaKeyType {
    P256,
    P384,
    Ed25519,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

/// What `sealane ca serve` was given. Durations are a number with a unit: 5m, 1h, 24h.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct CaServeArgs {
    /// Directory of the CA: ca.key, and ca.crt with the issuing certificate first and those above it behind;
    /// root.crt with roots, where ca.crt ends before them. An intermediate under the company's own root is the
    /// normal case; without ca.key and ca.crt a root is made
    #[arg(
        long,
        value_name = "DIR",
        env = "SEALANE_CA_DIR",
        default_value = DEFAULT_CA_DIR
    )]
    pub ca_dir: PathBuf,

    /// Address and port for certificate requests
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "SEALANE_CA_LISTEN",
        default_value = "[::]:15012"
    )]
    pub listen: String,

    /// Name or address that clients know this CA by; may be repeated
    #[arg(
        long = "dns-name",
        value_name = "NAME",
        env = "SEALANE_CA_DNS_NAMES",
        value_delimiter = ',',
        default_values_t = [
            "localhost".to_owned(),
            "sealane-ca.sealane-system.svc".to_owned(),
            "istiod.istio-system.svc".to_owned(),
        ]
    )]
    pub dns_names: Vec<String>,

    /// JSON Web Key Set of the tokens' issuer, as `kubectl get --raw /openid/v1/jwks` prints it; read again when
    /// it changes. Without it only certificates of the mesh count
    #[arg(long, value_name = "FILE", env = "SEALANE_CA_TOKEN_KEYS")]
    pub token_keys: Option<PathBuf>,

    /// What tokens must have as `iss` [default: anything]
    #[arg(
        long,
        value_name = "ISSUER",
        env = "SEALANE_CA_TOKEN_ISSUER",
        requires = "token_keys"
    )]
    pub token_issuer: Option<String>,

    /// What tokens must have in `aud`
    #[arg(
        long,
        value_name = "AUDIENCE",
        env = "SEALANE_CA_TOKEN_AUDIENCE",
        default_value = "sealane-ca"
    )]
    pub token_audience: String,

    /// Account of the nodes' agents, which may ask in the name of the pods of their node; may be repeated
    #[arg(
        long = "node-account",
        value_name = "NAMESPACE/ACCOUNT",
        env = "SEALANE_CA_NODE_ACCOUNTS",
        value_delimiter = ',',
        default_value = "sealane-system/sealane-agent"
    )]
    pub node_accounts: Vec<String>,

    /// They say which pods run on which node, as the agents read it. Without any nobody gets an identity but its own,
    /// and no certificate is renewed by certificate
    #[command(flatten)]
    pub source: SourceArgs,

    /// Longest life of a certificate; shorter ones are given when asked for (10s to 24h)
    #[arg(
        long,
        value_name = "DURATION",
        env = "SEALANE_CA_MAX_TTL",
        default_value = "24h"
    )]
    pub max_ttl: String,

    /// Certificate revocation lists (PEM or DER), read again when the file changes: a revoked certificate doesn't
    /// count as proof of who asks. May be given several times
    #[arg(long = "crl", value_name = "FILE")]
    pub revocation_lists: Vec<PathBuf>,

    /// Certificates per second for one caller; ten times as many at once
    #[arg(
        long,
        value_name = "NUMBER",
        env = "SEALANE_CA_RATE",
        default_value = "500"
    )]
    pub rate: NonZeroU32,

    #[command(flatten)]
    pub mesh: MeshArgs,

    /// Address and port of /metrics, /healthz and /readyz
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "SEALANE_CA_ADMIN",
        default_value = "127.0.0.1:15014"
    )]
    pub admin: String,

    /// Unix socket on which the CA answers `sealane ca status`
    #[arg(long, value_name = "PATH", env = "SEALANE_CA_SOCKET", default_value = DEFAULT_CA_SOCKET)]
    pub socket: PathBuf,

    #[command(flatten)]
    pub log: LogArgs,
}

/// Which CA a command is about.
#[derive(Debug, Args)]
pub struct CaWhichArgs {
    /// Unix socket of the CA service
    #[arg(long, value_name = "PATH", env = "SEALANE_CA_SOCKET", default_value = DEFAULT_CA_SOCKET)]
    pub socket: PathBuf,

    /// Directory of a CA, instead of asking a service: also of agents with an embedded CA
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}

/// What `sealane ca rotate` was given.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["root", "intermediate", "abort", "forget_issued"])))]
pub struct CaRotateArgs {
    /// Make a new root in the place of the self-made one
    #[arg(long)]
    pub root: bool,

    /// Make a new key, and have it certified by the CA in --issuer
    #[arg(long, requires = "issuer")]
    pub intermediate: bool,

    /// Give up a rotation while its new root is being distributed
    #[arg(long)]
    pub abort: bool,

    /// Wait no longer for certificates that `sealane ca issue` has made: whoever still has one of the old key is refused
    /// when the rotation is over
    #[arg(long)]
    pub forget_issued: bool,

    /// Directory of the CA above: ca.key, ca.crt, root.crt
    #[arg(long, value_name = "DIR", conflicts_with_all = ["root", "abort", "forget_issued"])]
    pub issuer: Option<PathBuf>,

    /// Trust domain of the new root, where the present one doesn't say it
    #[arg(long, value_name = "NAME", requires = "root")]
    pub trust_domain: Option<String>,

    /// Return when the rotation is over, and tell of its stages
    #[arg(long, conflicts_with = "abort")]
    pub wait: bool,

    #[command(flatten)]
    pub which: CaWhichArgs,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    fn accepts(line: &str) -> bool {
        Cli::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn issue_wants_one_kind_and_whoever_signs_it() {
        assert!(accepts("sealane ca issue --root Third --out /o"));
        assert!(accepts(
            "sealane ca issue --intermediate Mesh --ca-dir /ca --out /o"
        ));
        assert!(accepts(
            "sealane ca issue --dns a.test --uri spiffe://a/b --ca-dir /ca --out /o"
        ));
        assert!(!accepts("sealane ca issue --out /o"));
        assert!(!accepts("sealane ca issue --ca-dir /ca --out /o"));
        assert!(!accepts("sealane ca issue --dns a.test --out /o"));
        assert!(!accepts(
            "sealane ca issue --root Third --dns a.test --out /o"
        ));
        assert!(!accepts(
            "sealane ca issue --root Third --ca-dir /ca --out /o"
        ));
    }

    #[test]
    fn rotate_wants_to_know_what() {
        assert!(accepts("sealane ca rotate --root"));
        assert!(accepts("sealane ca rotate --root --directory /ca --wait"));
        assert!(accepts("sealane ca rotate --intermediate --issuer /root"));
        assert!(accepts("sealane ca rotate --abort"));
        assert!(!accepts("sealane ca rotate"));
        assert!(!accepts("sealane ca rotate --intermediate"));
        assert!(!accepts("sealane ca rotate --root --abort"));
        assert!(!accepts("sealane ca rotate --root --issuer /root"));
    }

    #[test]
    fn a_ca_service_needs_roots() {
        const AGENT: &str = "sealane agent --node a --source /s";
        assert!(accepts(&format!("{AGENT} --ca-address a:1 --ca-roots /r")));
        assert!(!accepts(&format!("{AGENT} --ca-address a:1")));
        assert!(!accepts(&format!("{AGENT} --ca-token /t")));
    }
}
