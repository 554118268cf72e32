//! What `sealane gateway` was told, checked as a whole.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use super::{ConfigError, MeshConfig, ServeConfig, absolute, address, directory, socket};
use crate::{cli::GatewayArgs, policy::Labels, trust::TrustConfig, workload::ObjectName};

/// Everything that `sealane gateway` can be told.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    pub pod: ObjectName,
    /// In place of the pod's; empty: the pod's.
    pub labels: Labels,
    /// An existing directory.
    pub source: PathBuf,
    pub credentials: Option<PathBuf>,
    /// From a Gateway's port to the one that is listened on.
    pub ports: BTreeMap<u16, u16>,
    pub mesh: MeshConfig,
    /// Only of revocations: the authorities of clients' certificates are a part of each server's credential.
    pub trust: TrustConfig,
    pub socket: Option<PathBuf>,
    pub admin: SocketAddr,
    pub serve: ServeConfig,
}

impl TryFrom<&GatewayArgs> for GatewayConfig {
    type Error = ConfigError;

    fn try_from(args: &GatewayArgs) -> Result<Self, ConfigError> {
        let pod = ObjectName::try_from(args.pod.clone()).map_err(|_| ConfigError::Pod {
            value: args.pod.clone(),
        })?;
        let mesh = MeshConfig::try_from(&args.mesh)?;
        let credentials = args.credentials.as_ref();
        let credentials = credentials.map(|path| absolute("--credentials", path));
        Ok(Self {
            pod,
            labels: args
                .labels
                .iter()
                .map(|written| label(written))
                .collect::<Result<_, _>>()?,
            source: directory(&args.source)?,
            credentials: credentials.transpose()?,
            ports: args
                .ports
                .iter()
                .map(|written| port(written))
                .collect::<Result<_, _>>()?,
            trust: TrustConfig {
                domain: mesh.trust_domain.clone(),
                aliases: Vec::new(),
                federated: Vec::new(),
                endpoint_authorities: None,
                revocation_lists: args.revocation_lists.clone(),
            },
            socket: args
                .socket
                .as_deref()
                .map(|path| socket("--socket", path))
                .transpose()?,
            mesh,
            admin: address("--admin", &args.admin)?,
            serve: ServeConfig::try_from(&args.serve)?,
        })
    }
}

fn label(written: &str) -> Result<(String, String), ConfigError> {
    match written.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(ConfigError::Label {
            value: written.to_owned(),
        }),
    }
}

fn port(written: &str) -> Result<(u16, u16), ConfigError> {
    let parsed = written.split_once(':').and_then(|(from, to)| {
        let number = |text: &str| text.parse().ok().filter(|port| *port > 0);
        number(from).zip(number(to))
    });
    parsed.ok_or_else(|| ConfigError::PortMap {
        value: written.to_owned(),
    })
}
