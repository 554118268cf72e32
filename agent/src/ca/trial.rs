//! A certificate issued on trial, which has to hold for peers before anything is signed in earnest.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{
    CaError, LeafName,
    authority::Authority,
    directory::{Files, Paths},
    leaf::{self, LeafKey},
};
use crate::{
    identity::{SpiffeId, TrustDomain},
    tls::{self, AuthorityError},
};

/// Of the certificate that is issued on trial.
const TRIAL: Duration = Duration::from_secs(60);
/// Where it isn't known yet whose certificates the CA will issue. What peers look at above a certificate doesn't depend
/// on it.
const ANY_DOMAIN: &str = "trial.invalid";

/// Whom certificates are issued to on trial.
#[derive(Clone, Copy, Default)]
pub(super) struct Trial<'a> {
    /// Of the mesh, where it is known.
    pub(super) domain: Option<&'a TrustDomain>,
    /// Those of the service itself: what is above the key may forbid them, and allow all of the mesh's.
    pub(super) names: &'a [String],
}

/// Why peers would not accept a certificate, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unaccepted {
    /// What path validation finds.
    Path(Error),
    /// A root for something else, of which path validation takes no notice, and others do.
    RootUse,
    /// Which path validation doesn't tell from a wrong signature.
    ShortKey,
}

impl std::error::Error for Unaccepted {}

impl From<Error> for Unaccepted {
    fn from(error: Error) -> Self {
        Self::Path(error)
    }
}

impl fmt::Display for Unaccepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match self {
            Self::Path(error) => error,
            Self::ShortKey => {
                return f.write_str(
                    "a certificate above it has an RSA key of fewer than 2048 bits, which nobody believes",
                );
            }
            Self::RootUse => {
                return f.write_str(
                    "the extended key usage of its root is not for TLS servers and clients",
                );
            }
        };
        f.write_str(match error {
            Error::UnknownIssuer => {
                "no root is above it: every certificate on the way up belongs behind the first"
            }
            Error::InvalidSignatureForPublicKey => {
                "a signature above it is not by the key that it should be by"
            }
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                "something above it is signed in a way that isn't safe, such as with SHA-1 or MD5"
            }
            Error::UnsupportedCriticalExtension => {
                "a certificate above it has a critical extension that peers don't know"
            }
            Error::NameConstraintViolation => {
                "the name constraints of a certificate above it forbid its names, or are for URIs, which nothing here can check"
            }
            Error::RequiredEkuNotFoundContext(_) => {
                "the extended key usage of a certificate above it is not for TLS servers and clients"
            }
            Error::PathLenConstraintViolated => {
                "a certificate above it allows fewer CAs below itself"
            }
            Error::EndEntityUsedAsCa => "a certificate above it is not a CA's",
            Error::CertExpired { .. } => "a certificate above it has expired",
            Error::CertNotValidYet { .. } => "a certificate above it is not valid yet",
            Error::BadDer | Error::BadDerTime | Error::MalformedExtensions | Error::TrailingData(_) => {
                "a certificate above it is not well formed"
            }
            other => return write!(f, "path validation says {other:?}"),
        })
    }
}

impl Authority {
    /// [`new`](Self::new), and what it issues holds for those who have its roots.
    pub(super) fn tried(
        files: &Files,
        paths: &Paths,
        trial: Trial<'_>,
        now: SystemTime,
    ) -> Result<Self, CaError> {
        let authority = Self::new(files, paths, trial.domain, now)?;
        let tried = authority.try_out(trial, &authority.roots, now)?;
        let is_root = |root: &&CertificateDer<'_>| authority.signs_under(root);
        let tried = tried.and_then(|()| {
            authority
                .roots
                .iter()
                .filter(is_root)
                .try_for_each(check_root)
        });
        tried.map_err(|source| CaError::SelfTest {
            path: paths.certificate.clone(),
            source,
        })?;
        Ok(authority)
    }

    /// Finds chains out of order, path lengths, name constraints, unsafe signatures and names that don't survive copying.
    pub(super) fn try_out(
        &self,
        trial: Trial<'_>,
        roots: &[CertificateDer<'static>],
        now: SystemTime,
    ) -> Result<Result<(), Unaccepted>, CaError> {
        let any = || {
            ANY_DOMAIN
                .parse()
                .map_err(|_| rcgen::Error::InvalidNameType)
        };
        let domain = trial.domain.cloned().map_or_else(any, Ok)?;
        let id = SpiffeId::new(domain, "sealane", "self-test");
        let id = id.map_err(|_| rcgen::Error::InvalidNameType)?;
        let key = leaf::generate_key()?;
        let mut tried = vec![leaf::svid_name(&id)?];
        if !trial.names.is_empty() {
            tried.push(LeafName::hosts(trial.names)?);
        }
        for names in tried {
            let tried = self.certify(names, &LeafKey(&key), TRIAL, now)?;
            let held = hold(&tried.chain, roots, now);
            if held.is_err() {
                return Ok(held);
            }
        }
        Ok(Ok(()))
    }
}

/// What a root says counts for some peers; path validation takes it as it is.
fn check_root(root: &CertificateDer<'_>) -> Result<(), Unaccepted> {
    EndEntityCert::try_from(root)?;
    let parsed = X509Certificate::from_der(root);
    let (_, parsed) = parsed.map_err(|_| Error::BadDer)?;
    let usage = parsed.extended_key_usage().map_err(|_| Error::BadDer)?;
    let fits = usage
        .is_none_or(|usage| usage.value.any || usage.value.server_auth && usage.value.client_auth);
    fits.then_some(()).ok_or(Unaccepted::RootUse)
}

/// Whether peers with these roots take the certificate, the first of a chain, from servers and from clients.
pub(super) fn hold(
    chain: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
    now: SystemTime,
) -> Result<(), Unaccepted> {
    let (end_entity, above) = chain.split_first().ok_or(Error::UnknownIssuer)?;
    let end_entity = EndEntityCert::try_from(end_entity)?;
    let anchors = roots.iter().map(webpki::anchor_from_trusted_cert);
    let anchors = anchors.collect::<Result<Vec<_>, _>>()?;
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let time = UnixTime::since_unix_epoch(since.unwrap_or_default());
    let algorithms = default_provider().signature_verification_algorithms.all;
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        let verified =
            end_entity.verify_for_usage(algorithms, &anchors, above, time, usage, None, None);
        verified.map(drop).map_err(|error| match error {
            Error::InvalidSignatureForPublicKey
                if above.iter().chain(roots).any(|c| has_short_key(c)) =>
            {
                Unaccepted::ShortKey
            }
            error => error.into(),
        })?;
    }
    Ok(())
}

fn has_short_key(certificate: &CertificateDer<'_>) -> bool {
    tls::check_authority(certificate) == Err(AuthorityError::WeakKey)
}
