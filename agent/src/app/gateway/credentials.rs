//! Where a gateway's certificates come from: Secrets in the directory of objects, mounted Secrets, files.

use std::{
    io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    control::{Secret, SecretError, Secrets, SecretsError, secrets},
    file,
    policy::Credential,
    tls::Material,
};

/// Of one file: all authorities of a system are a quarter of it.
const LIMIT: u64 = 1 << 20;

/// Keys of a Secret: of the type `kubernetes.io/tls`, then Istio's own.
const CHAIN: [&str; 2] = ["tls.crt", "cert"];
const KEY: [&str; 2] = ["tls.key", "key"];
const AUTHORITIES: [&str; 2] = ["ca.crt", "cacert"];
/// A Secret with the authorities alone.
const AUTHORITIES_SUFFIX: &str = "-cacert";

/// Why there is no material.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    /// Gone, or never there: nothing is in force any more.
    #[error("there is no Secret {0} in the gateway's namespace")]
    NoSecret(String),
    #[error("{} is not there", .0.display())]
    NoFile(PathBuf),
    #[error("Secret {name} has neither {} nor {}", .keys[0], .keys[1])]
    NoKey {
        name: String,
        keys: [&'static str; 2],
    },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// None of them is known.
    #[error("Secrets can't be read: {0}")]
    Secrets(String),
}

impl CredentialError {
    /// Whether what was in force must not stay so.
    pub(super) fn is_absence(&self) -> bool {
        match self {
            Self::NoSecret(_) | Self::NoFile(_) => true,
            Self::NoKey { .. } | Self::Secret(_) | Self::Read { .. } | Self::Secrets(_) => false,
        }
    }
}

/// The places to look.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) source: PathBuf,
    pub(super) mounted: Option<PathBuf>,
    pub(super) namespace: String,
}

/// What there is of a credential: its authorities are known also where certificate or key are missing.
pub(super) struct Looked {
    pub(super) authorities: Option<Vec<u8>>,
    pair: Result<Pair, CredentialError>,
}

struct Pair {
    chain: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Looked {
    pub(super) fn material(self) -> Result<Material, CredentialError> {
        let Pair { chain, key } = self.pair?;
        Ok(Material {
            chain,
            key,
            authorities: self.authorities,
        })
    }
}

/// All that there is at one moment.
pub(super) enum Found {
    Secrets(Result<Secrets, SecretsError>),
    Mounted(PathBuf),
}

impl Places {
    /// Blocks.
    pub(super) fn look(&self) -> Found {
        match &self.mounted {
            Some(dir) => Found::Mounted(dir.clone()),
            None => Found::Secrets(secrets(&self.source, &self.namespace)),
        }
    }
}

impl Found {
    /// Blocks.
    pub(super) fn look(&self, credential: &Credential) -> Result<Looked, CredentialError> {
        let (chain, key, authorities) = match credential {
            Credential::Secret(name) => return self.of_secret(name),
            Credential::Files {
                chain,
                key,
                authorities,
            } => (chain, key, authorities),
        };
        let authorities = authorities.as_ref().map(|path| read(path));
        let pair = read(chain).and_then(|chain| {
            Ok(Pair {
                chain: chain.to_vec(),
                key: read(key)?,
            })
        });
        Ok(Looked {
            authorities: authorities.transpose()?.map(|pem| pem.to_vec()),
            pair,
        })
    }

    fn of_secret(&self, name: &str) -> Result<Looked, CredentialError> {
        let no_secret = || CredentialError::NoSecret(name.to_owned());
        let own = self.secret(name)?.ok_or_else(no_secret)?;
        // As Istio: those of a Secret of their own first.
        let apart = self.secret(&format!("{name}{AUTHORITIES_SUFFIX}"))?;
        let apart = apart
            .as_ref()
            .and_then(|secret| of_keys(secret, AUTHORITIES));
        let authorities = apart.or_else(|| of_keys(&own, AUTHORITIES));
        let needed = |keys| {
            of_keys(&own, keys).ok_or_else(|| CredentialError::NoKey {
                name: name.to_owned(),
                keys,
            })
        };
        let pair = needed(CHAIN).and_then(|chain| {
            Ok(Pair {
                chain: chain.to_vec(),
                key: needed(KEY)?.clone(),
            })
        });
        Ok(Looked {
            authorities: authorities.map(|pem| pem.to_vec()),
            pair,
        })
    }

    fn secret(&self, name: &str) -> Result<Option<Secret>, CredentialError> {
        match self {
            Self::Secrets(Ok(secrets)) => Ok(secrets.get(name).cloned().transpose()?),
            Self::Secrets(Err(error)) => Err(CredentialError::Secrets(error.to_string())),
            Self::Mounted(dir) => mounted(&dir.join(name)),
        }
    }
}

fn of_keys<'s>(secret: &'s Secret, keys: [&str; 2]) -> Option<&'s Zeroizing<Vec<u8>>> {
    keys.iter().find_map(|key| secret.get(key))
}

/// `None`: it isn't there.
fn mounted(dir: &Path) -> Result<Option<Secret>, CredentialError> {
    let mut secret = Secret::default();
    for key in [CHAIN, KEY, AUTHORITIES].into_iter().flatten() {
        match read(&dir.join(key)) {
            Ok(bytes) => secret.insert(key, bytes),
            Err(CredentialError::NoFile(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((!secret.is_empty()).then_some(secret))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => CredentialError::NoFile(path.to_owned()),
        _ => CredentialError::Read {
            path: path.to_owned(),
            source,
        },
    };
    file::read(path, LIMIT).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn keys_of_mounted_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, path.file_name().unwrap().as_encoded_bytes()).unwrap();
        };
        let found = Found::Mounted(dir.path().to_owned());
        let look = |name: &str| found.look(&Credential::Secret(name.to_owned()));
        let material = |name: &str| look(name).and_then(Looked::material);
        assert!(material("a").unwrap_err().is_absence());
        put("a/tls.crt");
        assert!(!material("a").unwrap_err().is_absence());
        put("a/ca.crt");
        let known = look("a").unwrap().authorities;
        assert_eq!(known.as_deref(), Some(&b"ca.crt"[..]), "without a key");
        fs::remove_file(dir.path().join("a/ca.crt")).unwrap();
        put("a/tls.key");
        assert_eq!(material("a").unwrap().authorities, None);
        put("a-cacert/cacert");
        let a = material("a").unwrap();
        assert_eq!(
            (&a.chain[..], &a.key[..]),
            (&b"tls.crt"[..], &b"tls.key"[..])
        );
        assert_eq!(a.authorities.as_deref(), Some(&b"cacert"[..]));
        for key in ["b/cert", "b/key", "b/cacert"] {
            put(key);
        }
        assert_eq!(material("b").unwrap().chain, b"cert");
    }
}
