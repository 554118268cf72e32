//! What a CA service answers is checked as a peer would check it, before any peer sees it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_lc_rs::signature::EcdsaKeyPair;
use rcgen::PublicKeyData;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{
    ca::{
        CaError, authority,
        leaf::{self, LONGEST_LIFE, LeafKey},
        wire::CertificateResponse,
    },
    identity::{SpiffeId, Svid, SvidNameError, spiffe_id},
    tls::has_expired,
};

/// How much longer than [`LONGEST_LIFE`] it may be: CAs begin a little in the past.
const SLACK: Duration = Duration::from_secs(60 * 60);

/// Why an answer can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error("it has no certificate")]
    Empty,
    #[error("certificate {0} can't be read")]
    Certificate(usize),
    #[error(transparent)]
    Name(#[from] SvidNameError),
    #[error("it is for {0}")]
    WrongIdentity(SpiffeId),
    #[error("it is for another key than ours")]
    WrongKey,
    #[error("the certificate doesn't hold for peers: {0}")]
    Verify(webpki::Error),
    #[error("it is valid for {0:?}: longer than a day is not accepted")]
    TooLong(Duration),
    #[error(transparent)]
    Key(#[from] CaError),
}

/// A chain of certificates, parsed and nothing else.
#[derive(Debug)]
pub(super) struct Answer {
    /// The leaf first, without the root.
    chain: Vec<CertificateDer<'static>>,
    /// All that came last.
    roots: Vec<CertificateDer<'static>>,
    /// Lower-case hexadecimal.
    serial: String,
    not_before: SystemTime,
    not_after: SystemTime,
    /// Of what comes behind the leaf.
    authority_not_after: SystemTime,
}

impl Answer {
    /// The leaf comes first and the roots last; a last certificate that isn't self-issued is no root.
    pub(super) fn parse(response: &CertificateResponse) -> Result<Self, AnswerError> {
        let mut chain = Vec::new();
        for text in &response.cert_chain {
            let unreadable = AnswerError::Certificate(chain.len() + 1);
            let parsed: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(text.as_bytes()).collect();
            chain.extend(parsed.map_err(|_| unreadable)?);
        }
        let parsed = chain.iter().enumerate().map(|(index, der)| {
            let parsed = X509Certificate::from_der(der).map(|(_, parsed)| parsed);
            parsed.map_err(|_| AnswerError::Certificate(index + 1))
        });
        let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
        let (leaf, above) = parsed.split_first().ok_or(AnswerError::Empty)?;
        let end = |c: &X509Certificate<'_>| authority::time(c.validity().not_after);
        let from_behind = above.iter().rev();
        let roots = from_behind.take_while(|c| authority::is_self_issued(c));
        let first_root = parsed.len() - roots.count();
        let answer = Self {
            serial: leaf
                .raw_serial()
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect(),
            not_before: authority::time(leaf.validity().not_before),
            not_after: end(leaf),
            authority_not_after: above.iter().map(end).min().unwrap_or_else(|| end(leaf)),
            chain: Vec::new(),
            roots: Vec::new(),
        };
        let roots = chain.split_off(first_root);
        Ok(Self {
            chain,
            roots,
            ..answer
        })
    }

    pub(super) fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// When the first certificate above the leaf expires.
    pub(super) fn authority_not_after(&self) -> SystemTime {
        self.authority_not_after
    }

    /// Everything that a peer would look at, and that the key is ours.
    pub(super) fn check(
        &self,
        id: &SpiffeId,
        key: &EcdsaKeyPair,
        roots: &[CertificateDer<'static>],
        now: SystemTime,
    ) -> Result<Svid, AnswerError> {
        let (leaf, intermediates) = self.chain.split_first().ok_or(AnswerError::Empty)?;
        let end_entity = EndEntityCert::try_from(leaf).map_err(AnswerError::Verify)?;
        let actual = spiffe_id(&end_entity)?;
        if actual != *id {
            return Err(AnswerError::WrongIdentity(actual));
        }
        if end_entity.subject_public_key_info().as_ref() != LeafKey(key).subject_public_key_info() {
            return Err(AnswerError::WrongKey);
        }
        let life = self.not_after.duration_since(self.not_before);
        let life = life.unwrap_or_default();
        if life > LONGEST_LIFE + SLACK {
            return Err(AnswerError::TooLong(life));
        }
        let roots = roots.iter().chain(&self.roots);
        verify(&end_entity, intermediates, roots, now).map_err(AnswerError::Verify)?;
        Ok(Svid {
            id: id.clone(),
            certified: Arc::new(CertifiedKey::new(
                self.chain.clone(),
                leaf::signing_key(key)?,
            )),
            not_before: self.not_before,
            not_after: self.not_after,
            serial: self.serial.clone(),
        })
    }
}

/// For both ends of a connection.
fn verify<'a>(
    end_entity: &EndEntityCert<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: impl Iterator<Item = &'a CertificateDer<'static>>,
    now: SystemTime,
) -> Result<(), webpki::Error> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let now = UnixTime::since_unix_epoch(since.unwrap_or_default());
    let anchors: Vec<_> = roots
        .filter(|root| !has_expired(root, now))
        .filter_map(|root| webpki::anchor_from_trusted_cert(root).ok())
        .collect();
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        end_entity.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            intermediates,
            now,
            usage,
            None,
            None,
        )?;
    }
    Ok(())
}
