//! What `sealane ca keep` is told.

use std::{path::PathBuf, time::Duration};

use super::{ConfigError, LogConfig, absolute, ca, trust_domain};
use crate::{cli::CaKeepArgs, identity::TrustDomain, workload::ObjectName};

/// Everything that `sealane ca keep` can be told.
#[derive(Clone, Debug)]
pub struct KeepConfig {
    pub directory: PathBuf,
    pub secret: ObjectName,
    pub roots: ObjectName,
    /// Of a root that is made.
    pub domain: TrustDomain,
    pub max_ttl: Duration,
    /// `None`: the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    pub once: bool,
    pub log: LogConfig,
}

impl TryFrom<&CaKeepArgs> for KeepConfig {
    type Error = ConfigError;

    fn try_from(args: &CaKeepArgs) -> Result<Self, ConfigError> {
        Ok(Self {
            directory: absolute("--directory", &args.directory)?,
            secret: object("--secret", &args.secret)?,
            roots: object("--roots", &args.roots)?,
            domain: trust_domain("--trust-domain", &args.trust_domain)?,
            max_ttl: ca::lifetime("--max-ttl", &args.max_ttl)?,
            kubeconfig: args.kubeconfig.clone(),
            once: args.once,
            log: LogConfig::try_from(&args.log)?,
        })
    }
}

fn object(flag: &'static str, value: &str) -> Result<ObjectName, ConfigError> {
    let parsed = ObjectName::try_from(value.to_owned());
    parsed.map_err(|_| ConfigError::Object {
        flag,
        value: value.to_owned(),
    })
}
