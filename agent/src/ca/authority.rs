//! A CA's key and certificates, parsed and found to fit together.

use std::{
    collections::HashSet,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{crypto::aws_lc_rs::sign::any_supported_type, sign::SigningKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, time::ASN1Time,
};
use zeroize::Zeroize;

use super::{
    Anchor, AnchorUse, CaError,
    directory::{Files, Paths},
    signer::Signer,
};
use crate::{
    identity::TrustDomain,
    tls::{self, AuthorityError},
};

/// Who signs, and what peers need to check the signature.
pub(super) struct Authority {
    pub(super) signer: Signer,
    /// From the issuer upwards, without the root: peers have that.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Whether the key's own certificate is a root.
    pub(super) is_root: bool,
    /// At least one, that above the issuer first unless only `root.crt` has it.
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// The roots, as status shows them.
    pub(super) anchors: Vec<Anchor>,
    /// What the issuing certificate says of whose it is.
    pub(super) domain: Option<TrustDomain>,
    /// When the first certificate on the way to the root expires.
    pub(super) not_after: SystemTime,
}

impl Authority {
    /// Checks everything that can be checked without issuing. `domain`: of the mesh, if it is a mesh's CA.
    pub(super) fn new(
        files: &Files,
        paths: &Paths,
        domain: Option<&TrustDomain>,
        now: SystemTime,
    ) -> Result<Self, CaError> {
        let key = signing_key(files, paths)?;
        let certificates = certificates(&files.certificate, &paths.certificate)?;
        let parsed = parse(&certificates, &paths.certificate)?;
        let issuer = parsed.first().ok_or_else(|| CaError::NoCertificate {
            path: paths.certificate.clone(),
        })?;
        let signer = Signer::new(key, issuer, paths)?;
        for (index, certificate) in parsed.iter().enumerate() {
            check_authority(certificate, &paths.certificate, index + 1)?;
            check_path_length(certificate, &paths.certificate, index)?;
            check_validity(certificate, &paths.certificate, index + 1, now)?;
            check_subject(certificate, &paths.certificate, index + 1)?;
        }
        if let Some(domain) = domain {
            check_domain(issuer, domain, &paths.certificate)?;
        }
        let self_issued = |wanted: bool| {
            let pairs = certificates.iter().zip(&parsed);
            let matching = pairs.filter(move |(_, parsed)| is_self_issued(parsed) == wanted);
            matching.map(|(der, _)| der.clone()).collect::<Vec<_>>()
        };
        let top = parsed.last().unwrap_or(issuer);
        let roots = all_roots(self_issued(true), files, paths)?;
        let anchors = roots.iter().filter_map(|(der, usage)| {
            let (_, root) = X509Certificate::from_der(der).ok()?;
            // A company's next root may have the same name.
            let above = root.subject().as_raw() == top.issuer().as_raw()
                && top.verify_signature(Some(root.public_key())).is_ok();
            let usage = match usage {
                AnchorUse::Trusted if above => AnchorUse::Signing,
                usage => *usage,
            };
            Anchor::new(der, usage)
        });
        let anchors: Vec<_> = anchors.collect();
        Ok(Self {
            not_after: not_after(&parsed, &anchors).unwrap_or(now),
            anchors,
            domain: domain_of(issuer),
            is_root: is_self_issued(issuer),
            signer,
            chain: self_issued(false),
            roots: roots.into_iter().map(|(der, _)| der).collect(),
        })
    }
}

/// When the way from the issuer to a root ends; of several roots above it the one that lasts longest counts.
fn not_after(chain: &[X509Certificate<'_>], anchors: &[Anchor]) -> Option<SystemTime> {
    let ends = chain.iter().map(|c| time(c.validity().not_after));
    let above = anchors.iter().filter(|a| a.usage == AnchorUse::Signing);
    let above = above.map(|anchor| SystemTime::from(anchor.not_after)).max();
    ends.chain(above).min()
}

impl Authority {
    /// The roots above the key.
    fn signing(&self) -> impl Iterator<Item = &Anchor> {
        let anchors = self.anchors.iter();
        anchors.filter(|anchor| anchor.usage == AnchorUse::Signing)
    }

    /// Whether it is one of the roots above the key.
    pub(super) fn signs_under(&self, root: &[u8]) -> bool {
        let root = Anchor::new(root, AnchorUse::Signing);
        root.is_some_and(|root| self.signing().any(|anchor| *anchor == root))
    }
}

pub(super) fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

/// The same of what isn't parsed yet.
pub(super) fn is_self_issued_der(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, parsed)| is_self_issued(&parsed))
}

fn signing_key(files: &Files, paths: &Paths) -> Result<Arc<dyn SigningKey>, CaError> {
    if tls::is_encrypted(&files.key) {
        return Err(CaError::KeyEncrypted {
            path: paths.key.clone(),
        });
    }
    let mut der = PrivateKeyDer::from_pem_slice(&files.key).map_err(|source| CaError::KeyPem {
        path: paths.key.clone(),
        source,
    })?;
    let key = any_supported_type(&der);
    der.zeroize();
    key.map_err(|_| {
        let path = paths.key.clone();
        let certificate = CertificateDer::from_pem_slice(&files.certificate).ok();
        let checked = certificate.map(|certificate| tls::check_authority(&certificate));
        match checked {
            Some(Err(AuthorityError::WeakKey)) => CaError::KeyShort { path },
            _ => CaError::KeyKind { path },
        }
    })
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, CaError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| CaError::CertificatePem {
            path: path.to_owned(),
            source,
        })
}

fn parse<'a>(
    certificates: &'a [CertificateDer<'static>],
    path: &Path,
) -> Result<Vec<X509Certificate<'a>>, CaError> {
    let parsed =
        certificates
            .iter()
            .enumerate()
            .map(|(index, der)| match X509Certificate::from_der(der) {
                Ok(([], certificate)) => Ok(certificate),
                Ok(_) | Err(_) => Err(CaError::Certificate {
                    path: path.to_owned(),
                    position: index + 1,
                }),
            });
    parsed.collect()
}

/// RFC 5280, section 4.1.2.6.
fn check_subject(
    certificate: &X509Certificate<'_>,
    path: &Path,
    position: usize,
) -> Result<(), CaError> {
    match certificate.subject().iter().next() {
        Some(_) => Ok(()),
        None => Err(CaError::NoSubject {
            path: path.to_owned(),
            position,
        }),
    }
}

/// RFC 5280, sections 4.2.1.3 and 4.2.1.9.
fn check_authority(
    certificate: &X509Certificate<'_>,
    path: &Path,
    position: usize,
) -> Result<(), CaError> {
    let may_sign = match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    if certificate.is_ca() && may_sign {
        Ok(())
    } else {
        Err(CaError::NotAuthority {
            path: path.to_owned(),
            position,
        })
    }
}

/// RFC 5280, section 4.2.1.9: how many CAs may follow. Not every verifier looks at a root's.
fn check_path_length(
    certificate: &X509Certificate<'_>,
    path: &Path,
    below: usize,
) -> Result<(), CaError> {
    let allowed = certificate
        .basic_constraints()
        .ok()
        .flatten()
        .and_then(|constraints| constraints.value.path_len_constraint);
    match allowed {
        Some(allowed) if usize::try_from(allowed).is_ok_and(|allowed| allowed < below) => {
            Err(CaError::PathLength {
                path: path.to_owned(),
                position: below + 1,
                allowed,
            })
        }
        _ => Ok(()),
    }
}

fn check_validity(
    certificate: &X509Certificate<'_>,
    path: &Path,
    position: usize,
    now: SystemTime,
) -> Result<(), CaError> {
    let validity = certificate.validity();
    let path = path.to_owned();
    if time(validity.not_after) <= now {
        let not_after = timestamp(time(validity.not_after));
        return Err(CaError::Expired {
            path,
            position,
            not_after,
        });
    }
    if time(validity.not_before) > now {
        let not_before = timestamp(time(validity.not_before));
        return Err(CaError::NotYetValid {
            path,
            position,
            not_before,
        });
    }
    Ok(())
}

/// A CA that says whose it is (X509-SVID, section 3.2: a signing certificate's SPIFFE ID has no path).
fn check_domain(
    issuer: &X509Certificate<'_>,
    domain: &TrustDomain,
    path: &Path,
) -> Result<(), CaError> {
    let Ok(Some(names)) = issuer.subject_alternative_name() else {
        return Ok(());
    };
    let expected = format!("spiffe://{domain}");
    let other = names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with("spiffe://") && *uri != expected => Some(*uri),
            _ => None,
        });
    other.map_or(Ok(()), |found| {
        Err(CaError::TrustDomain {
            path: path.to_owned(),
            found: found.to_owned(),
            expected: domain.as_str().to_owned(),
        })
    })
}

/// Those above the issuer, those of `root.crt`, and while a key is changed those above the other one.
fn all_roots(
    above: Vec<CertificateDer<'static>>,
    files: &Files,
    paths: &Paths,
) -> Result<Vec<(CertificateDer<'static>, AnchorUse)>, CaError> {
    let extra = certificates(&files.roots, &paths.roots)?;
    for (index, root) in extra.iter().enumerate() {
        tls::check_authority(root).map_err(|source| CaError::Root {
            path: paths.roots.clone(),
            position: index + 1,
            source,
        })?;
    }
    let above = above.into_iter().map(|root| (root, AnchorUse::Signing));
    let mut roots: Vec<_> = above.collect();
    for (path, pem, usage) in &files.others {
        let chain = certificates(pem, path)?;
        let parsed = parse(&chain, path)?;
        let pairs = chain.iter().zip(&parsed);
        let own = pairs.filter(|(_, parsed)| is_self_issued(parsed));
        roots.extend(own.map(|(der, _)| (der.clone(), *usage)));
    }
    roots.extend(extra.into_iter().map(|root| (root, AnchorUse::Trusted)));
    let mut seen = HashSet::new();
    roots.retain(|(root, _)| seen.insert(root.clone()));
    if roots.is_empty() {
        return Err(CaError::NoRoot {
            path: paths.certificate.clone(),
        });
    }
    Ok(roots)
}

/// X509-SVID, section 3.2.
fn domain_of(issuer: &X509Certificate<'_>) -> Option<TrustDomain> {
    let names = issuer.subject_alternative_name().ok()??;
    names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix("spiffe://")?.parse().ok(),
            _ => None,
        })
}

/// Times before 1970 count as 1970.
pub(super) fn time(time: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

/// Times that jiff can't hold count as the latest it can.
pub(super) fn timestamp(time: SystemTime) -> jiff::Timestamp {
    jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MAX)
}
