//! What the command line means, checked as a whole before anything starts. Opens and creates nothing.

mod ca;
mod cgroup;
mod duration;
mod gateway;
mod issue;
mod keep;
mod source;
mod trust;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tracing_subscriber::filter::{LevelFilter, Targets};

pub use ca::{CaServeConfig, CaSource, TokenSource, rotate};

pub use crate::cli::{Ktls, LogFormat};
pub use gateway::GatewayConfig;
pub use issue::order;
pub use keep::KeepConfig;
pub use source::SourceConfig;

use crate::{
    ca::{ParseCaAddressError, ParseNodeAccountError},
    cli::{AgentArgs, LogArgs, MeshArgs, ServeArgs, Switch},
    identity::{ParseSpiffeIdError, TrustDomain},
    offload::KeyLimit,
    tls::ClientFiles,
    trust::TrustConfig,
};

/// Longest path of a Unix socket: `sun_path` of unix(7) less its terminating zero.
const SOCKET_PATH_MAX: usize = 107;

/// What objects don't say themselves.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    pub trust_domain: TrustDomain,
    pub trust_domain_aliases: Vec<TrustDomain>,
    pub cluster_domain: String,
    pub root_namespace: String,
}

impl TryFrom<&MeshArgs> for MeshConfig {
    type Error = ConfigError;

    fn try_from(args: &MeshArgs) -> Result<Self, ConfigError> {
        let alias = |name: &String| trust_domain("--trust-domain-alias", name);
        let aliases = args.trust_domain_aliases.iter().map(alias);
        Ok(Self {
            trust_domain: trust_domain("--trust-domain", &args.trust_domain)?,
            trust_domain_aliases: aliases.collect::<Result<_, _>>()?,
            cluster_domain: dns_name("--cluster-domain", &args.cluster_domain)?,
            root_namespace: dns_name("--root-namespace", &args.root_namespace)?,
        })
    }
}

/// Everything that `sealane agent` can be told.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    pub node: String,
    pub source: SourceConfig,
    pub client_files: ClientFiles,
    /// A directory of the cgroup v2 hierarchy.
    pub cgroup_root: PathBuf,
    /// None: found by the port on which it listens.
    pub kubelet_cgroup: Option<PathBuf>,
    pub bpffs: PathBuf,
    pub ca: CaSource,
    pub mesh: MeshConfig,
    pub trust: TrustConfig,
    pub admin: SocketAddr,
    pub socket: PathBuf,
    pub lease: Duration,
    /// To be taken off the node once the agent is ready.
    pub startup_taint: Option<String>,
    /// Whether the wire of pods is watched.
    pub attests: bool,
    pub detect_timeout: Duration,
    /// For how long flows are remembered.
    pub flow_retention: Duration,
    pub svid_ttl: Duration,
    pub serve: ServeConfig,
}

/// What everything that carries connections can be told.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    pub log: LogConfig,
    pub drain: Duration,
    pub handshake_timeout: Duration,
    pub ktls: Ktls,
    pub key_limit: KeyLimit,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogConfig {
    pub format: LogFormat,
    pub filter: Targets,
}

/// Why a command line can't be used. Every message names the flag and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "{flag} `{value}` is not a DNS name (RFC 1123): write lower-case letters, digits, `-` and `.`, at \
         most 253"
    )]
    DnsName { flag: &'static str, value: String },
    #[error("{flag}: {source}")]
    TrustDomain {
        flag: &'static str,
        source: ParseSpiffeIdError,
    },
    #[error("--trust-bundle `{value}`: {why}")]
    TrustBundle { value: String, why: &'static str },
    #[error(
        "--source {}: {source}; create the directory or name the one that holds the objects",
        path.display()
    )]
    Source { path: PathBuf, source: io::Error },
    #[error(
        "nothing says where the objects are: write --kubernetes in a pod, --kubeconfig FILE or --source DIR"
    )]
    NoSource,
    #[error("--source {} is not a directory: name the directory that holds the files", path.display())]
    SourceNotDirectory { path: PathBuf },
    #[error("{flag} `{}` is relative: write it from the root, with a leading `/`", path.display())]
    RelativePath { flag: &'static str, path: PathBuf },
    #[error(
        "{flag} {} has {length} bytes, a socket's path at most {SOCKET_PATH_MAX}: choose a shorter one",
        path.display()
    )]
    SocketPath {
        flag: &'static str,
        path: PathBuf,
        length: usize,
    },
    #[error(
        "--key-limit {value}: write a number of MiB from {} to {}",
        KeyLimit::LEAST,
        KeyLimit::MOST
    )]
    KeyLimit { value: u32 },
    #[error("{flag} `{value}` is not ADDR:PORT: write 127.0.0.1:15020 or [::1]:15020")]
    Address { flag: &'static str, value: String },
    #[error("--ca-address {source}: write istiod.istio-system.svc:15012")]
    CaAddress { source: ParseCaAddressError },
    #[error("--node-account {source}")]
    NodeAccount { source: ParseNodeAccountError },
    #[error("{flag} `{value}` is neither a DNS name nor an address")]
    ServerName { flag: &'static str, value: String },
    #[error("{flag} {value:?} is no name for a CA: write 1 to 64 characters on one line")]
    CommonName { flag: &'static str, value: String },
    #[error("--uri `{value}`: {why}")]
    Uri { value: String, why: &'static str },
    #[error("--pod `{value}` is not NAMESPACE/NAME: write istio-system/ingressgateway-0")]
    Pod { value: String },
    #[error("{flag} `{value}` is not NAMESPACE/NAME: write sealane-system/sealane-ca")]
    Object { flag: &'static str, value: String },
    #[error("--label `{value}` is not KEY=VALUE: write istio=ingressgateway")]
    Label { value: String },
    #[error("--port `{value}` is not PORT:LISTEN: write 443:8443")]
    PortMap { value: String },
    #[error(
        "--log-level `{value}`: {source}; write a level such as info, or info,sealane::capture=debug"
    )]
    LogLevel {
        value: String,
        source: tracing_subscriber::filter::ParseError,
    },
    #[error(
        "--log-level: `{word}` is not a level: write error, warn, info, debug, trace or off, or TARGET=LEVEL"
    )]
    LogLevelWord { word: String },
    #[error(
        "{flag} `{value}` is not a duration ({source}): write a number with a unit, such as 100ms, 5s, 24h or 90d"
    )]
    Duration {
        flag: &'static str,
        value: String,
        source: jiff::Error,
    },
    #[error("{flag} `{value}` is out of range: from {min:?} to {max:?}")]
    DurationRange {
        flag: &'static str,
        value: String,
        min: Duration,
        max: Duration,
    },
    #[error(
        "--cgroup-root: /proc/self/mountinfo can't be read: {source}; name the cgroup v2 directory"
    )]
    Mounts { source: io::Error },
    #[error(
        "--cgroup-root: no cgroup v2 hierarchy is mounted: `mount -t cgroup2 none /sys/fs/cgroup/unified`, or \
         name the directory where it is"
    )]
    NoCgroup2,
    #[error("--cgroup-root {}: {source}; name a directory of the cgroup v2 hierarchy", path.display())]
    CgroupRoot { path: PathBuf, source: io::Error },
    #[error(
        "--cgroup-root {} is not in a cgroup v2 hierarchy (`findmnt -t cgroup2` tells where it is mounted)",
        path.display()
    )]
    NotCgroup2 { path: PathBuf },
}

impl TryFrom<&AgentArgs> for AgentConfig {
    type Error = ConfigError;

    fn try_from(args: &AgentArgs) -> Result<Self, ConfigError> {
        use duration::parse;
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let mesh = MeshConfig::try_from(&args.mesh)?;
        let svid_ttl = ca::lifetime("--svid-ttl", &args.svid_ttl)?;
        let source = source::source(&args.source, args.node_pods.unknown_pods)?;
        let source = source.ok_or(ConfigError::NoSource)?;
        Ok(Self {
            node: dns_name("--node", &args.node)?,
            client_files: source::client_files(args.client_files.as_deref(), &source)?,
            source,
            cgroup_root: cgroup::root(args.cgroup_root.as_deref())?,
            kubelet_cgroup: optional("--kubelet-cgroup", args.kubelet_cgroup.as_deref())?,
            bpffs: absolute("--bpffs", &args.bpffs)?,
            ca: ca::source(&args.ca, mesh.trust_domain.clone(), svid_ttl)?,
            trust: trust::trust(&args.trust, &mesh)?,
            mesh,
            admin: address("--admin", &args.admin)?,
            socket: socket("--socket", &args.socket)?,
            startup_taint: args.node_pods.startup_taint.clone(),
            attests: args.wire.attestation == Switch::On,
            lease: parse("--lease", &args.lease, Duration::from_secs(1), minutes(60))?,
            detect_timeout: parse(
                "--detect-timeout",
                &args.detect_timeout,
                Duration::from_millis(1),
                Duration::from_secs(30),
            )?,
            flow_retention: parse(
                "--flow-retention",
                &args.flow_retention,
                Duration::from_secs(1),
                minutes(24 * 60),
            )?,
            svid_ttl,
            serve: ServeConfig::try_from(&args.serve)?,
        })
    }
}

impl TryFrom<&ServeArgs> for ServeConfig {
    type Error = ConfigError;

    fn try_from(args: &ServeArgs) -> Result<Self, ConfigError> {
        use duration::parse;
        let hour = Duration::from_secs(3600);
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(300));
        let timeout = &args.handshake_timeout;
        let value = args.key_limit;
        Ok(Self {
            log: LogConfig::try_from(&args.log)?,
            drain: parse("--drain", &args.drain, Duration::ZERO, hour)?,
            handshake_timeout: parse("--handshake-timeout", timeout, least, most)?,
            ktls: args.ktls,
            key_limit: KeyLimit::mebibytes(value).ok_or(ConfigError::KeyLimit { value })?,
        })
    }
}

impl TryFrom<&LogArgs> for LogConfig {
    type Error = ConfigError;

    /// # Errors
    /// When the level is neither a level nor a list of `target=level`.
    fn try_from(args: &LogArgs) -> Result<Self, ConfigError> {
        let (format, level) = (args.log_format, args.log_level.as_str());
        // A bare word would be taken for a target, and everything else would be silent.
        let is_level = |word: &&str| word.contains('=') || word.parse::<LevelFilter>().is_ok();
        if let Some(word) = level.split(',').find(|word| !is_level(word)) {
            return Err(ConfigError::LogLevelWord {
                word: word.to_owned(),
            });
        }
        let filter = level.parse().map_err(|source| ConfigError::LogLevel {
            value: level.to_owned(),
            source,
        })?;
        Ok(Self { format, filter })
    }
}

/// What `--last` means: for how long back flows are asked for.
///
/// # Errors
/// When it is not a duration from a second to a day.
pub fn window(last: &str) -> Result<Duration, ConfigError> {
    let day = Duration::from_secs(24 * 60 * 60);
    duration::parse("--last", last, Duration::from_secs(1), day)
}

/// What `--duration` means: for how long packets are recorded.
///
/// # Errors
/// When it is not a duration from a second to 30 days.
pub fn lasting(duration: &str) -> Result<Duration, ConfigError> {
    let month = Duration::from_secs(30 * 24 * 60 * 60);
    duration::parse("--duration", duration, Duration::from_secs(1), month)
}

/// What `--cgroup-root` means, or its absence: a directory of the cgroup v2 hierarchy.
///
/// # Errors
/// When there is none, or it is of another file system.
pub fn cgroup_root(given: Option<&Path>) -> Result<PathBuf, ConfigError> {
    cgroup::root(given)
}

fn trust_domain(flag: &'static str, value: &str) -> Result<TrustDomain, ConfigError> {
    value
        .parse()
        .map_err(|source| ConfigError::TrustDomain { flag, source })
}

fn dns_name(flag: &'static str, value: &str) -> Result<String, ConfigError> {
    let is_label = |label: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let mut bytes = label.bytes();
        label.len() <= 63
            && edge(label.bytes().next())
            && edge(label.bytes().next_back())
            && bytes.all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    if value.len() <= 253 && value.split('.').all(is_label) {
        Ok(value.to_owned())
    } else {
        Err(ConfigError::DnsName {
            flag,
            value: value.to_owned(),
        })
    }
}

fn directory(path: &Path) -> Result<PathBuf, ConfigError> {
    let kind = path.metadata().map_err(|source| ConfigError::Source {
        path: path.to_owned(),
        source,
    })?;
    if kind.is_dir() {
        Ok(path.to_owned())
    } else {
        Err(ConfigError::SourceNotDirectory {
            path: path.to_owned(),
        })
    }
}

fn absolute(flag: &'static str, path: &Path) -> Result<PathBuf, ConfigError> {
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err(ConfigError::RelativePath {
            flag,
            path: path.to_owned(),
        })
    }
}

fn optional(flag: &'static str, path: Option<&Path>) -> Result<Option<PathBuf>, ConfigError> {
    path.map(|path| absolute(flag, path)).transpose()
}

fn socket(flag: &'static str, path: &Path) -> Result<PathBuf, ConfigError> {
    let path = absolute(flag, path)?;
    match path.as_os_str().len() {
        length if length > SOCKET_PATH_MAX => Err(ConfigError::SocketPath { flag, path, length }),
        _ => Ok(path),
    }
}

fn address(flag: &'static str, value: &str) -> Result<SocketAddr, ConfigError> {
    value.parse().map_err(|_| ConfigError::Address {
        flag,
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests;
