//! Roots that peers have been told of since so short a time that some of them may not have heard yet: a root that is put
//! into `root.crt` must not sign before all have renewed their certificates.

use std::{collections::HashMap, time::SystemTime};

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use crate::ca::{Anchor, AnchorUse, authority::timestamp, rotation::Record};

/// Fingerprints, and since when peers are told. Nothing of what was there when the directory was opened.
#[derive(Debug, Default)]
pub(super) struct Fresh(HashMap<String, SystemTime>);

impl Fresh {
    /// Peers are told of `new` instead of `present` from now on. Of a key that is changed by a rotation, that has its own
    /// stage for this.
    pub(super) fn learn(&mut self, present: &[Anchor], new: &[Anchor], now: SystemTime) {
        let print = |anchor: &Anchor| anchor.fingerprint.clone();
        // Of a change that is given up not all have heard.
        let told = || present.iter().filter(|p| p.usage != AnchorUse::Next);
        let is_known = |anchor: &Anchor| told().any(|p| p.fingerprint == anchor.fingerprint);
        let given = |anchor: &&Anchor| anchor.usage == AnchorUse::Trusted;
        let waiting = |print: &String| new.iter().filter(given).any(|a| a.fingerprint == *print);
        self.0.retain(|print, _| waiting(print));
        for anchor in new.iter().filter(given).filter(|a| !is_known(a)) {
            self.0.insert(print(anchor), now);
        }
    }

    /// Those of the roots that everybody has heard of, and when that will be true of the others.
    pub(super) fn known(
        &self,
        roots: &[CertificateDer<'static>],
        record: &Record,
        now: SystemTime,
    ) -> (Vec<CertificateDer<'static>>, Timestamp) {
        let until = |root: &CertificateDer<'_>| {
            let anchor = Anchor::new(root, AnchorUse::Trusted)?;
            let since = self.0.get(&anchor.fingerprint)?;
            Some(record.renewed(*since)).filter(|until| *until > timestamp(now))
        };
        let last = roots.iter().filter_map(until).max();
        let known = roots.iter().filter(|root| until(root).is_none()).cloned();
        (known.collect(), last.unwrap_or(timestamp(now)))
    }
}
