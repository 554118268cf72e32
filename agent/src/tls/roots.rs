//! Roots that count until they expire: path validation itself takes an anchor for good at all times.

use std::{borrow::Cow, time::Duration};

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
        let (_, parsed) = X509Certificate::from_der(root).map_err(|_| webpki::Error::BadDer)?;
        let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        self.anchors.push(anchor);
        self.ends
            .push(UnixTime::since_unix_epoch(Duration::from_secs(end)));
        Ok(())
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
