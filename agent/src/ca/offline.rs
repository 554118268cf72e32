//! Certificates from a CA's files, without a service: roots, intermediates, and leaves for hosts and workloads.
//!
//! For what is not a pod: the third root that two meshes trust, gateways, clients outside. Keeps no account of what
//! it has issued, but for how long leaves are valid: a change of the CA's key waits for them. A CA below has roots of
//! its own, which change when its key does.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use aws_lc_rs::signature::Ed25519KeyPair;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, RsaKeySize, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::{
    CaError,
    authority::{self, Authority, timestamp},
    directory::{self, Locked, NewAuthority},
    encoded, leaf, pem,
    trial::{self, Trial},
};

/// What is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Signs itself: `ca.key`, `ca.crt`.
    Root { name: String },
    /// A CA that signs leaves, under another one: `ca.key`, `ca.crt`, `root.crt`.
    Intermediate { name: String, ca: PathBuf },
    /// For both ends of connections: `tls.key`, `tls.crt` with the chain, `ca.crt` with the roots; the names of
    /// a Kubernetes secret that Istio's `credentialName` takes.
    Leaf { names: Vec<LeafName>, ca: PathBuf },
}

/// What a leaf is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafName {
    /// A DNS name, or an address.
    Host(String),
    /// Such as a SPIFFE ID.
    Uri(String),
}

/// Of the new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    P256,
    P384,
    Ed25519,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

/// One certificate with its key.
#[derive(Clone, Debug)]
pub struct Order {
    pub kind: Kind,
    pub key_type: KeyType,
    pub ttl: Duration,
}

/// A key and its certificate, not written yet.
pub(super) struct Made {
    pub(super) key_pem: Zeroizing<String>,
    /// In PEM form, with the intermediates above.
    pub(super) chain: String,
    /// None for a root.
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// Why the CA doesn't know of it.
    unrecorded: Option<CaError>,
}

/// What has been written.
#[derive(Debug)]
pub struct Issued {
    pub files: Vec<PathBuf>,
    /// Why the CA, whose directory is for reading alone, has no record of it: a change of its key won't wait for it.
    pub unrecorded: Option<CaError>,
}

impl Order {
    /// Makes it and writes the files into an existing directory.
    ///
    /// # Errors
    /// When the CA can't sign, or when one of the files is there already.
    pub fn fill(&self, out: &Path, now: SystemTime) -> Result<Issued, CaError> {
        let made = self.make(now)?;
        let names = match self.kind {
            Kind::Root { .. } | Kind::Intermediate { .. } => ["ca.key", "ca.crt", "root.crt"],
            Kind::Leaf { .. } => ["tls.key", "tls.crt", "ca.crt"],
        };
        let [key_path, chain_path, roots_path] = names.map(|name| out.join(name));
        let roots = text(&made.roots);
        let mut files = vec![
            (key_path, 0o600, made.key_pem.as_bytes()),
            (chain_path, 0o644, made.chain.as_bytes()),
        ];
        if !roots.is_empty() {
            files.push((roots_path, 0o644, roots.as_bytes()));
        }
        directory::write_new(&files)?;
        Ok(Issued {
            files: files.into_iter().map(|(path, ..)| path).collect(),
            unrecorded: made.unrecorded,
        })
    }

    /// Makes it, and writes nothing.
    pub(super) fn make(&self, now: SystemTime) -> Result<Made, CaError> {
        let (key, key_pem) = self.key_type.generate()?;
        let now = leaf::whole_seconds(now);
        let mut params = self.params(&key)?;
        params.not_before = now.checked_sub(leaf::AUTHORITY_SKEW).unwrap_or(now).into();
        let above = self.above(now)?;
        let latest = above.as_ref().map(|(authority, _)| authority.not_after);
        let end = now + self.ttl;
        let end = latest.map_or(end, |latest| latest.min(end));
        params.not_after = end.into();
        let mut unrecorded = None;
        let (chain, roots) = match above {
            None => (pem(params.self_signed(&key)?.der()), Vec::new()),
            Some((authority, locked)) => {
                let mut chain = vec![authority.signer.sign(&params, &key)?];
                chain.extend_from_slice(&authority.chain);
                let chain_pem = text(&chain);
                if matches!(self.kind, Kind::Leaf { .. }) {
                    let held = trial::hold(&chain, &authority.roots, now);
                    held.map_err(|source| CaError::SelfTest {
                        path: locked.paths.certificate.clone(),
                        source,
                    })?;
                    unrecorded = locked.issue(end)?;
                } else {
                    // Under its issuer's name it would pass for a root.
                    if authority::is_self_issued_der(&chain[0]) {
                        return Err(CaError::SameName {
                            path: locked.paths.certificate,
                        });
                    }
                    let new = NewAuthority {
                        key_pem: key_pem.clone(),
                        certificate_pem: chain_pem.clone() + &text(&authority.roots),
                    };
                    Authority::tried(&new.files(), &locked.paths, Trial::default(), now)?;
                }
                (chain_pem, authority.roots)
            }
        };
        Ok(Made {
            key_pem,
            chain,
            roots,
            unrecorded,
        })
    }

    /// Who signs, and its directory, in which nobody changes the key meanwhile; `None` for a root.
    fn above(&self, now: SystemTime) -> Result<Option<(Authority, Locked)>, CaError> {
        let (Kind::Intermediate { ca, .. } | Kind::Leaf { ca, .. }) = &self.kind else {
            return Ok(None);
        };
        let locked = Locked::existing(ca)?;
        let authority = Authority::new(&locked.files()?, &locked.paths, None, now)?;
        if authority.not_after <= now {
            let not_after = timestamp(authority.not_after);
            return Err(CaError::AuthorityExpired { not_after });
        }
        Ok(Some((authority, locked)))
    }

    fn params(&self, key: &KeyPair) -> Result<CertificateParams, CaError> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&leaf::serial()?));
        params.distinguished_name = DistinguishedName::new();
        params.use_authority_key_identifier_extension = true;
        match &self.kind {
            Kind::Root { name } => {
                params.distinguished_name.push(DnType::CommonName, name);
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            Kind::Intermediate { name, .. } => {
                params.distinguished_name.push(DnType::CommonName, name);
                params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            }
            Kind::Leaf { names, .. } => {
                let names = names.iter().map(LeafName::written);
                params.subject_alt_names = names.collect::<Result<_, _>>()?;
                params.is_ca = IsCa::ExplicitNoCa;
                params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
                params.extended_key_usages = vec![
                    ExtendedKeyUsagePurpose::ServerAuth,
                    ExtendedKeyUsagePurpose::ClientAuth,
                ];
                if key.is_compatible(&rcgen::PKCS_RSA_SHA256) {
                    // For TLS 1.2 without forward secrecy, which old clients may still speak.
                    params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
                }
                return Ok(params);
            }
        }
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params)
    }
}

impl LeafName {
    /// As they are written into one certificate.
    pub(super) fn hosts(names: &[String]) -> Result<Vec<SanType>, CaError> {
        let names = names.iter().map(|name| Self::Host(name.clone()).written());
        names.collect()
    }

    fn written(&self) -> Result<SanType, CaError> {
        let failed = |name: &str, source| CaError::Name {
            name: name.to_owned(),
            source,
        };
        match self {
            Self::Host(name) => match name.parse() {
                Ok(address) => Ok(SanType::IpAddress(address)),
                Err(_) => match name.as_str().try_into() {
                    Ok(name) => Ok(SanType::DnsName(name)),
                    Err(source) => Err(failed(name, source)),
                },
            },
            Self::Uri(uri) => match uri.as_str().try_into() {
                Ok(uri) => Ok(SanType::URI(uri)),
                Err(source) => Err(failed(uri, source)),
            },
        }
    }
}

impl KeyType {
    /// A key, and as it is written into a file.
    fn generate(self) -> Result<(KeyPair, Zeroizing<String>), CaError> {
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        let key = match self {
            Self::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            Self::Ed25519 => return ed25519(),
            Self::Rsa2048 => rsa(RsaKeySize::_2048),
            Self::Rsa3072 => rsa(RsaKeySize::_3072),
            Self::Rsa4096 => rsa(RsaKeySize::_4096),
        }?;
        let key_pem = Zeroizing::new(key.serialize_pem());
        Ok((key, key_pem))
    }
}

/// rcgen writes version 2, with the public key, which many can't read (RFC 5958; RFC 8410, section 7).
fn ed25519() -> Result<(KeyPair, Zeroizing<String>), CaError> {
    let made = Ed25519KeyPair::generate().and_then(|key| key.to_pkcs8v1());
    // Wipes itself when dropped.
    let document = made.map_err(|_| CaError::KeyGeneration)?;
    let der = PrivatePkcs8KeyDer::from(document.as_ref());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519)?;
    let key_pem = Zeroizing::new(encoded("PRIVATE KEY", document.as_ref()));
    Ok((key, key_pem))
}

fn text(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(pem).collect()
}

#[cfg(test)]
mod tests;
