//! Roots that count until they expire: path validation itself takes an anchor for good at all times.

use std::{borrow::Cow, time::Duration};

use rustls::DistinguishedName;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

/// Parsed once.
#[derive(Debug, Default)]
pub(super) struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
    /// Of each, as long as it is valid.
    ends: Vec<UnixTime>,
}

impl Roots {
    /// # Errors
    /// When it can't be a root.
    pub(super) fn add(&mut self, root: &CertificateDer<'_>) -> Result<(), webpki::Error> {
        let anchor = webpki::anchor_from_trusted_cert(root)?.to_owned();
        self.ends.push(end(root).ok_or(webpki::Error::BadDer)?);
        self.anchors.push(anchor);
        Ok(())
    }

    /// Of those that can be roots.
    pub(super) fn parsable<'r>(roots: impl IntoIterator<Item = CertificateDer<'r>>) -> Self {
        let mut parsable = Self::default();
        for root in roots {
            if let Err(error) = parsable.add(&root) {
                tracing::debug!(?error, "root ignored");
            }
        }
        parsable
    }

    /// Their names.
    pub(super) fn subjects(&self) -> Vec<DistinguishedName> {
        let anchors = self.anchors.iter();
        anchors
            .map(|anchor| DistinguishedName::in_sequence(anchor.subject.as_ref()))
            .collect()
    }

    /// Also those that have expired.
    pub(super) fn all(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    pub(super) fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// Those that have not expired.
    pub(super) fn at(&self, now: UnixTime) -> Cow<'_, [TrustAnchor<'static>]> {
        if self.ends.iter().all(|end| now <= *end) {
            return Cow::Borrowed(&self.anchors);
        }
        let anchors = self.anchors.iter().zip(&self.ends);
        let valid = anchors.filter(|(_, end)| now <= **end);
        Cow::Owned(valid.map(|(anchor, _)| anchor.clone()).collect())
    }
}

/// Whether a certificate is of no use any more; true of what is none.
#[must_use]
pub fn has_expired(certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
    end(certificate).is_none_or(|end| end < now)
}

fn end(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    Some(UnixTime::since_unix_epoch(Duration::from_secs(end)))
}
