//! What is said of the CA: which one an agent asks, and what the CA service is told.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use super::{
    ConfigError, LogConfig, MeshConfig, SourceConfig, absolute, address, dns_name, duration,
    socket, source, trust_domain,
};
use crate::{
    ca::{CaClientSettings, NodeAccount, Rotate, TokenRules},
    cli::{CaArgs, CaRotateArgs, CaServeArgs, UnknownPods},
    identity::TrustDomain,
    trust::TrustConfig,
};

/// Where an agent's certificates come from.
#[derive(Clone, Debug)]
pub enum CaSource {
    /// The embedded CA's directory.
    Directory(PathBuf),
    Service(CaClientSettings),
    /// The socket of a SPIRE agent.
    Spire(PathBuf),
}

/// Who vouches for bearer tokens.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// Only certificates count.
    Nobody,
    /// A file with the keys of their issuer.
    Keys(PathBuf),
    /// The API server of the source; the kubeconfig, if there is one.
    Cluster(Option<PathBuf>),
}

/// Everything that `sealane ca serve` can be told.
#[derive(Clone, Debug)]
pub struct CaServeConfig {
    pub dir: PathBuf,
    pub mesh: MeshConfig,
    pub listen: SocketAddr,
    /// What clients know the CA by: DNS names and addresses.
    pub names: Vec<String>,
    /// Who vouches for tokens.
    pub tokens: TokenSource,
    pub token_rules: TokenRules,
    pub node_accounts: Vec<NodeAccount>,
    /// None: nobody gets the identity of another.
    pub source: Option<SourceConfig>,
    pub max_ttl: Duration,
    pub rate: NonZeroU32,
    /// What was revoked.
    pub trust: TrustConfig,
    pub admin: SocketAddr,
    pub socket: PathBuf,
    pub log: LogConfig,
}

impl TryFrom<&CaServeArgs> for CaServeConfig {
    type Error = ConfigError;

    fn try_from(args: &CaServeArgs) -> Result<Self, ConfigError> {
        let account = |text: &String| {
            let parsed = text.parse();
            parsed.map_err(|source| ConfigError::NodeAccount { source })
        };
        let rules = TokenRules {
            issuer: args.token_issuer.clone(),
            audience: args.token_audience.clone(),
        };
        let names = args.dns_names.iter();
        let names = names.map(|name| server_name("--dns-name", name));
        let mesh = MeshConfig::try_from(&args.mesh)?;
        let source = source::source(&args.source, UnknownPods::Pass)?;
        Ok(Self {
            dir: absolute("--ca-dir", &args.ca_dir)?,
            listen: address("--listen", &args.listen)?,
            names: names.collect::<Result<_, _>>()?,
            tokens: match (&args.token_keys, &source) {
                (Some(path), _) => TokenSource::Keys(path.clone()),
                (None, Some(SourceConfig::Cluster { kubeconfig, .. })) => {
                    TokenSource::Cluster(kubeconfig.clone())
                }
                (None, _) => TokenSource::Nobody,
            },
            token_rules: rules,
            node_accounts: args
                .node_accounts
                .iter()
                .map(account)
                .collect::<Result<_, _>>()?,
            source,
            max_ttl: lifetime("--max-ttl", &args.max_ttl)?,
            rate: args.rate,
            trust: TrustConfig {
                domain: mesh.trust_domain.clone(),
                aliases: Vec::new(),
                federated: Vec::new(),
                endpoint_authorities: None,
                revocation_lists: args.revocation_lists.clone(),
            },
            mesh,
            admin: address("--admin", &args.admin)?,
            socket: socket("--socket", &args.socket)?,
            log: LogConfig::try_from(&args.log)?,
        })
    }
}

/// What `sealane ca rotate` was told to change.
///
/// # Errors
/// When there is no such trust domain.
pub fn rotate(args: &CaRotateArgs) -> Result<Rotate, ConfigError> {
    if args.abort {
        return Ok(Rotate::Abort);
    }
    if args.forget_issued {
        return Ok(Rotate::Hurry);
    }
    if let Some(issuer) = &args.issuer {
        let issuer = absolute("--issuer", issuer)?;
        return Ok(Rotate::Intermediate { issuer });
    }
    let domain = args.trust_domain.as_deref();
    let domain = domain.map(|name| trust_domain("--trust-domain", name));
    Ok(Rotate::Root {
        domain: domain.transpose()?,
    })
}

pub(super) fn source(
    args: &CaArgs,
    trust_domain: TrustDomain,
    ttl: Duration,
) -> Result<CaSource, ConfigError> {
    if let Some(path) = &args.spire_agent_socket {
        let flag = "--spire-agent-socket";
        return Ok(CaSource::Spire(socket(flag, path)?));
    }
    let (Some(address), Some(roots)) = (&args.ca_address, &args.ca_roots) else {
        return Ok(CaSource::Directory(absolute("--ca-dir", &args.ca_dir)?));
    };
    let address = address.parse();
    Ok(CaSource::Service(CaClientSettings {
        address: address.map_err(|source| ConfigError::CaAddress { source })?,
        server_name: args.ca_server_name.clone(),
        roots: absolute("--ca-roots", roots)?,
        token: args
            .ca_token
            .as_deref()
            .map(|token| absolute("--ca-token", token))
            .transpose()?,
        trust_domain,
        ttl,
    }))
}

/// Of certificates.
pub(super) fn lifetime(flag: &'static str, value: &str) -> Result<Duration, ConfigError> {
    let day = Duration::from_secs(24 * 60 * 60);
    duration::parse(flag, value, Duration::from_secs(10), day)
}

pub(super) fn server_name(flag: &'static str, value: &str) -> Result<String, ConfigError> {
    let is_address = value.parse::<std::net::IpAddr>().is_ok();
    // No domain at the top is a number: that is an address with something wrong (RFC 3696, section 2).
    let last = value.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    if is_address || !is_number && dns_name(flag, value).is_ok() {
        return Ok(value.to_owned());
    }
    Err(ConfigError::ServerName {
        flag,
        value: value.to_owned(),
    })
}
