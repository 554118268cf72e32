//! A CA within the agent, its key in a directory: for one machine, or for machines that share the directory.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{crypto::aws_lc_rs::sign::any_ecdsa_type, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::{
    CaError,
    authority::{Authority, timestamp},
    directory::{self, Paths},
    leaf::{self, LeafKey, Validity},
};
use crate::identity::{SpiffeId, Svid, TrustBundle, TrustDomain};

/// Issues SVIDs of one trust domain.
pub struct EmbeddedCa {
    authority: Authority,
    domain: TrustDomain,
    ttl: Duration,
}

impl EmbeddedCa {
    /// Opens the CA of a directory: `ca.key` and `ca.crt` (the issuer first, the rest up to the root after
    /// it), made when neither is there, and `root.crt` with further roots to trust. Blocks while another
    /// process opens the same directory. SVIDs live for `ttl`, at most 24 h.
    ///
    /// # Errors
    /// When the directory or the key is open to others, when the files don't fit together, or when an SVID
    /// issued on trial isn't accepted by the roots.
    pub fn open(dir: &Path, domain: &TrustDomain, ttl: Duration) -> Result<Self, CaError> {
        let now = SystemTime::now();
        let files = directory::open(dir, || leaf::authority(domain, now))?;
        let ca = Self {
            authority: Authority::new(&files, &Paths::new(dir), domain, now)?,
            domain: domain.clone(),
            ttl: ttl.min(leaf::LONGEST_LIFE),
        };
        ca.try_out(now)?;
        Ok(ca)
    }

    /// Makes a key and certifies it for `id`. Never valid longer than the CA itself.
    ///
    /// # Errors
    /// When the CA has expired, or the crypto library fails.
    pub fn issue(&self, id: &SpiffeId, now: SystemTime) -> Result<Svid, CaError> {
        let expired = || CaError::AuthorityExpired {
            not_after: timestamp(self.authority.not_after),
        };
        let validity =
            Validity::new(now, self.ttl, self.authority.not_after).ok_or_else(expired)?;
        let serial = leaf::serial()?;
        let key = leaf::generate_key()?;
        let certificate =
            leaf::leaf(id, validity, serial)?.signed_by(&LeafKey(&key), &self.authority.issuer)?;
        // The document wipes itself when dropped; rustls keeps the key in the crypto library's memory.
        let document = key.to_pkcs8v1().map_err(|_| CaError::KeyGeneration)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(document.as_ref()));
        let mut chain = vec![CertificateDer::from(certificate)];
        chain.extend(self.authority.chain.iter().cloned());
        Ok(Svid {
            id: id.clone(),
            certified: Arc::new(CertifiedKey::new(chain, any_ecdsa_type(&der)?)),
            not_before: validity.not_before,
            not_after: validity.not_after,
            serial: format!("{:032x}", u128::from_be_bytes(serial)),
        })
    }

    /// The roots that peers of this trust domain are checked against.
    #[must_use]
    pub fn bundle(&self) -> TrustBundle {
        let mut bundle = TrustBundle::default();
        for root in &self.authority.roots {
            bundle.add(self.domain.clone(), root.clone());
        }
        bundle
    }

    /// When the CA, or a certificate above it, expires.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.authority.not_after
    }

    /// Finds chains out of order, path lengths, name constraints and names that don't survive copying.
    fn try_out(&self, now: SystemTime) -> Result<(), CaError> {
        let refused = |source| CaError::SelfTest { source };
        let id = SpiffeId::new(self.domain.clone(), "sealane", "self-test")
            .map_err(|_| rcgen::Error::InvalidNameType)?;
        let svid = self.issue(&id, now)?;
        let Some((end_entity, chain)) = svid.certified.cert.split_first() else {
            return Err(refused(webpki::Error::UnknownIssuer));
        };
        let anchors = self
            .authority
            .roots
            .iter()
            .map(webpki::anchor_from_trusted_cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(refused)?;
        let since = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        EndEntityCert::try_from(end_entity)
            .map_err(refused)?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                chain,
                UnixTime::since_unix_epoch(since),
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(refused)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
