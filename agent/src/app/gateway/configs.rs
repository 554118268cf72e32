//! The TLS of a gateway's servers, made again when their certificates change. What can't be used leaves what was in force
//! before; what is gone leaves nothing.

use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::Arc,
};

use rustls::ServerConfig;

use super::credentials::{CredentialError, Found};
use crate::{
    policy::{Credential, ServerTls},
    tls::{Material, TerminateError, Terminations},
};

pub(super) type Current = HashMap<Arc<ServerTls>, Arc<ServerConfig>>;

/// Keeps the last good ones.
pub(super) struct Configs {
    terminations: Terminations,
    /// Keyed at random: tells one material from the next without keeping it.
    hasher: RandomState,
    kept: HashMap<Arc<ServerTls>, Kept>,
}

struct Kept {
    fingerprint: u64,
    config: Arc<ServerConfig>,
}

/// What is wrong with a credential.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Terminate(#[from] TerminateError),
}

impl Configs {
    pub(super) fn new(terminations: Terminations) -> Self {
        Self {
            terminations,
            hasher: RandomState::new(),
            kept: HashMap::new(),
        }
    }

    /// What is in force for these servers now, and what is wrong with each credential. Blocks.
    pub(super) fn update(
        &mut self,
        wanted: &[Arc<ServerTls>],
        found: &Found,
    ) -> BTreeMap<Credential, Option<String>> {
        self.kept.retain(|tls, _| wanted.contains(tls));
        let mut troubles = BTreeMap::new();
        for tls in wanted {
            let material = found.material(&tls.credential);
            let taken = material
                .map_err(Trouble::from)
                .and_then(|m| self.take(tls, &m));
            let trouble = taken.err().map(|trouble| self.suffer(tls, &trouble));
            let told = troubles.entry(tls.credential.clone()).or_insert(None);
            *told = told.take().or(trouble);
        }
        troubles
    }

    pub(super) fn current(&self) -> Current {
        let kept = self.kept.iter();
        kept.map(|(tls, kept)| (Arc::clone(tls), Arc::clone(&kept.config)))
            .collect()
    }

    fn take(&mut self, tls: &Arc<ServerTls>, material: &Material) -> Result<(), Trouble> {
        let Material {
            chain,
            key,
            authorities,
        } = material;
        let fingerprint = self.hasher.hash_one((chain, &**key, authorities));
        let same = self.kept.get(tls);
        if same.is_some_and(|kept| kept.fingerprint == fingerprint) {
            return Ok(());
        }
        let config = Arc::new(self.terminations.config(tls, material)?);
        let kept = Kept {
            fingerprint,
            config,
        };
        self.kept.insert(Arc::clone(tls), kept);
        Ok(())
    }

    fn suffer(&mut self, tls: &Arc<ServerTls>, trouble: &Trouble) -> String {
        let closed = match trouble {
            Trouble::Credential(error) => error.is_absence(),
            Trouble::Terminate(error) => matches!(error, TerminateError::NoAuthorities),
        };
        if closed {
            self.kept.remove(tls);
        }
        let consequence = match self.kept.contains_key(tls) {
            true => "the one before stays in force",
            false => "connections are refused",
        };
        format!("{}: {trouble}: {consequence}", tls.credential)
    }
}
