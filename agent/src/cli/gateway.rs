//! `sealane gateway` as typed.

use std::path::PathBuf;

use clap::Args;

use super::{MeshArgs, ServeArgs};

/// What `sealane gateway` was given.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct GatewayArgs {
    /// The gateway's own pod: its labels say which Gateways it serves, Secrets are those of its namespace
    #[arg(long, value_name = "NAMESPACE/NAME", env = "SEALANE_POD")]
    pub pod: String,

    /// A label of the pod, in place of those that the directory says; may be repeated
    #[arg(
        long = "label",
        value_name = "KEY=VALUE",
        env = "SEALANE_LABELS",
        value_delimiter = ','
    )]
    pub labels: Vec<String>,

    /// Directory with the Kubernetes and Istio objects (*.yaml, *.yml, *.json), watched for changes
    #[arg(long, value_name = "DIR", env = "SEALANE_SOURCE")]
    pub source: PathBuf,

    /// Directory with mounted Secrets: DIR/NAME/tls.crt, tls.key and ca.crt. Without it Secrets are read from --source
    #[arg(long, value_name = "DIR", env = "SEALANE_CREDENTIALS")]
    pub credentials: Option<PathBuf>,

    /// Where to listen for a port of a Gateway, as the Service's targetPort; may be repeated [default: the same port]
    #[arg(
        long = "port",
        value_name = "PORT:LISTEN",
        env = "SEALANE_PORTS",
        value_delimiter = ','
    )]
    pub ports: Vec<String>,

    #[command(flatten)]
    pub mesh: MeshArgs,

    /// Certificate revocation lists (PEM or DER) for clients' certificates, read again when the file changes: also
    /// established connections of revoked certificates are cut. May be given several times
    #[arg(long = "crl", value_name = "FILE")]
    pub revocation_lists: Vec<PathBuf>,

    /// Unix socket on which the gateway answers `sealane status` and `sealane connections` [default: none]
    #[arg(long, value_name = "PATH", env = "SEALANE_SOCKET")]
    pub socket: Option<PathBuf>,

    /// Address and port of /metrics, /healthz and /readyz
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "SEALANE_ADMIN",
        default_value = "127.0.0.1:15021"
    )]
    pub admin: String,

    #[command(flatten)]
    pub serve: ServeArgs,
}
