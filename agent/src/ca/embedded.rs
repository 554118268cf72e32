//! A CA within the agent, its key in a directory: for one machine, or for machines that share the directory.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_lc_rs::signature::EcdsaKeyPair;
use rcgen::{PublicKeyData, SanType};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, UnixTime};
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
            authority: Authority::new(&files, &Paths::new(dir), Some(domain), now)?,
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
        let key = leaf::generate_key()?;
        let certified = self.certify(leaf::svid_name(id)?, &LeafKey(&key), self.ttl, now)?;
        certified.into_svid(id.clone(), &key)
    }

    /// Certifies a key for whoever has these names, for `ttl` at most.
    ///
    /// # Errors
    /// When the CA has expired, or the crypto library fails.
    pub(super) fn certify(
        &self,
        names: Vec<SanType>,
        key: &impl PublicKeyData,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Certified, CaError> {
        let expired = || CaError::AuthorityExpired {
            not_after: timestamp(self.authority.not_after),
        };
        let ttl = ttl.min(self.ttl);
        let validity = Validity::new(now, ttl, self.authority.not_after).ok_or_else(expired)?;
        let serial = leaf::serial()?;
        let certificate =
            leaf::leaf(names, validity, serial).signed_by(key, &self.authority.issuer)?;
        let mut chain = vec![CertificateDer::from(certificate)];
        chain.extend(self.authority.chain.iter().cloned());
        Ok(Certified {
            chain,
            validity,
            serial: format!("{:032x}", u128::from_be_bytes(serial)),
        })
    }

    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The longest life of what it issues.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// At least one.
    pub(super) fn roots(&self) -> &[CertificateDer<'static>] {
        &self.authority.roots
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

/// What the CA has signed.
pub(super) struct Certified {
    /// The leaf first, without the root.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) validity: Validity,
    /// In lower-case hexadecimal.
    pub(super) serial: String,
}

impl Certified {
    /// With the private key that it is for.
    pub(super) fn into_svid(self, id: SpiffeId, key: &EcdsaKeyPair) -> Result<Svid, CaError> {
        Ok(Svid {
            id,
            not_before: self.validity.not_before,
            not_after: self.validity.not_after,
            serial: self.serial,
            certified: Arc::new(CertifiedKey::new(self.chain, leaf::signing_key(key)?)),
        })
    }
}

#[cfg(test)]
mod tests;
