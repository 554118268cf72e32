//! The files that anchors come from, each with its last good content.

use std::collections::HashMap;

use super::{BundleSource, TrustConfig, TrustError};
use crate::{
    tls::{CrlError, RevocationList, TrustAnchors},
    trust::{bundle::Bundle, followed::Followed},
};

#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) bundles: HashMap<usize, Followed<Bundle>>,
    pub(super) lists: Vec<Followed<Vec<RevocationList>>>,
}

impl Files {
    pub(super) fn of(config: &TrustConfig) -> Self {
        let federated = config.federated.iter().enumerate();
        let bundles = federated.filter_map(|(index, (_, source))| match source {
            BundleSource::File(path) => Some((index, Followed::new(path.clone()))),
            BundleSource::Endpoint(_) => None,
        });
        let lists = config.revocation_lists.iter().cloned();
        Self {
            bundles: bundles.collect(),
            lists: lists.map(Followed::new).collect(),
        }
    }

    /// Tells whether something is new.
    pub(super) fn look(&mut self, known: &TrustAnchors) -> bool {
        let bundles = self.look_for_bundles();
        self.look_for_lists(known) || bundles
    }

    pub(super) fn look_for_bundles(&mut self) -> bool {
        let mut changed = false;
        for file in self.bundles.values_mut() {
            changed |= file.look(Bundle::parse);
        }
        changed
    }

    pub(super) fn look_for_lists(&mut self, known: &TrustAnchors) -> bool {
        let parse = |text: &[u8]| {
            let lists = RevocationList::parse(text)?;
            known.check_lists(&lists)?;
            Ok::<_, CrlError>(lists)
        };
        let mut changed = false;
        for file in &mut self.lists {
            changed |= file.look(parse);
        }
        changed
    }

    pub(super) fn again(&mut self) {
        self.lists.iter_mut().for_each(Followed::again);
    }

    pub(super) fn has_said(&self, text: &str) -> bool {
        let mut lists = self.lists.iter();
        lists.any(|file| file.error.as_deref() == Some(text))
    }

    pub(super) fn check(&self) -> Result<(), TrustError> {
        let bundles = self.bundles.values().map(|file| (&file.path, &file.error));
        let lists = self.lists.iter().map(|file| (&file.path, &file.error));
        let mut failed = bundles.chain(lists);
        let first = failed.find_map(|(path, error)| Some((path, error.as_ref()?)));
        first.map_or(Ok(()), |(path, error)| {
            Err(TrustError::File {
                path: path.clone(),
                error: error.clone(),
            })
        })
    }
}
