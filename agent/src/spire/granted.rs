//! What the SPIRE agent says that a workload may have, and which of it is the SVID that we look for.

use std::{sync::Arc, time::SystemTime};

use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::{SpireError, wire::SvidsResponse};
use crate::{
    identity::{SpiffeId, Svid, SvidFormError, spiffe_id},
    tls::{PemError, TrustAnchors, certified},
};

/// Names of other SVIDs that are told.
const TOLD: usize = 3;

/// The last answer for an identity.
#[derive(Clone)]
pub(super) enum Answer {
    Granted(Arc<Svid>),
    /// There is none for it, but some by these names.
    Withheld(Vec<String>),
    Unusable(Arc<GrantError>),
}

/// Why an SVID can't be used.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    #[error("the key: {0}")]
    Key(PemError),
    #[error(transparent)]
    Form(#[from] SvidFormError),
}

impl Answer {
    /// The SVID with exactly this name; wipes the keys of the answer.
    pub(super) fn of(response: &SvidsResponse, expected: &SpiffeId) -> Self {
        let mut others = Vec::new();
        for svid in &response.svids {
            let chain = svid.svid.iter().flat_map(|svid| &svid.chain);
            let chain: Vec<_> = chain.cloned().map(CertificateDer::from).collect();
            match name(&chain) {
                Ok(name) if name == *expected => {
                    return match granted(expected, chain, &svid.key) {
                        Ok(svid) => Self::Granted(Arc::new(svid)),
                        Err(error) => Self::Unusable(Arc::new(error)),
                    };
                }
                Ok(name) => others.push(name.to_string()),
                Err(text) => others.push(text),
            }
        }
        others.truncate(TOLD);
        Self::Withheld(others)
    }
}

fn name(chain: &[CertificateDer<'_>]) -> Result<SpiffeId, String> {
    let leaf = chain.first().ok_or("one without a certificate")?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| error.to_string())?;
    spiffe_id(&leaf).map_err(|error| error.to_string())
}

fn granted(
    id: &SpiffeId,
    chain: Vec<CertificateDer<'static>>,
    key: &[u8],
) -> Result<Svid, GrantError> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let certified = certified(chain, &key).map_err(GrantError::Key)?;
    Ok(Svid::new(id.clone(), Arc::new(certified))?)
}

/// As a peer would, in either role.
pub(super) fn verify(
    certified: &CertifiedKey,
    anchors: &TrustAnchors,
    now: SystemTime,
) -> Result<(), SpireError> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let now = UnixTime::since_unix_epoch(since.unwrap_or_default());
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    let (leaf, intermediates) = certified.cert.split_first().ok_or(SpireError::Silent)?;
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        let verified = anchors.verify(leaf, intermediates, now, usage, algorithms);
        verified.map_err(SpireError::Unverified)?;
    }
    Ok(())
}
