//! The roots that a CA service's client believes: those of its file, and those that came with answers.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use crate::{
    ca::leaf::skew,
    identity::{TrustBundle, TrustDomain},
};

/// Those of answers; more than a rotation has.
const MOST: usize = 16;

/// Clones are of the same roots.
#[derive(Clone)]
pub(super) struct Roots(Arc<Shared>);

struct Shared {
    domain: TrustDomain,
    /// How long a root is kept that the CA doesn't send any more: as long as certificates live.
    keep: Duration,
    known: Mutex<Known>,
    bundle: watch::Sender<Arc<TrustBundle>>,
}

#[derive(Default)]
struct Known {
    file: Vec<CertificateDer<'static>>,
    /// With the time of the first answer that didn't have it any more.
    told: Vec<(CertificateDer<'static>, Option<SystemTime>)>,
}

impl Roots {
    /// `life`: of the certificates that are asked for.
    pub(super) fn new(
        domain: TrustDomain,
        life: Duration,
        file: Vec<CertificateDer<'static>>,
    ) -> Self {
        let roots = Self(Arc::new(Shared {
            domain,
            keep: life + skew(life),
            known: Mutex::default(),
            bundle: watch::Sender::default(),
        }));
        roots.set_file(file);
        roots
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.0.bundle.subscribe()
    }

    pub(super) fn all(&self) -> Vec<CertificateDer<'static>> {
        self.0.bundle.borrow().roots(&self.0.domain).to_vec()
    }

    /// What the file says now.
    pub(super) fn set_file(&self, file: Vec<CertificateDer<'static>>) {
        let mut known = self.known();
        known.file = file;
        self.publish(&known);
    }

    /// Peers may have certificates of a new root before this agent's own do. One that the CA sends no more is kept
    /// while a peer's certificate may be under it.
    pub(super) fn learn(&self, answered: &[CertificateDer<'static>], now: SystemTime) {
        let mut known = self.known();
        for (root, missing) in &mut known.told {
            // Until then it was there for others.
            let since = missing.unwrap_or(now);
            *missing = (!answered.contains(root)).then_some(since);
        }
        known.told.retain(|(_, missing)| {
            let age = missing.map(|since| now.duration_since(since).unwrap_or_default());
            age.is_none_or(|age| age <= self.0.keep)
        });
        for root in answered {
            if known.told.iter().any(|(known, _)| known == root) {
                continue;
            }
            if known.told.len() == MOST {
                let most = MOST;
                tracing::warn!(most, "the CA has sent too many roots: one is left out");
                continue;
            }
            known.told.push((root.clone(), None));
        }
        self.publish(&known);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, known: &Known) {
        let mut bundle = TrustBundle::default();
        for root in known
            .file
            .iter()
            .chain(known.told.iter().map(|(root, _)| root))
        {
            bundle.add(self.0.domain.clone(), root.clone());
        }
        self.0.bundle.send_if_modified(|present| {
            let news = **present != bundle;
            if news {
                *present = Arc::new(bundle);
            }
            news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: u8) -> CertificateDer<'static> {
        CertificateDer::from(vec![name])
    }

    #[test]
    fn a_root_is_kept_as_long_as_certificates_under_it_may_live() {
        let life = Duration::from_secs(60);
        let domain = "cluster.local".parse().unwrap();
        let roots = Roots::new(domain, life, vec![root(0)]);
        let start = SystemTime::UNIX_EPOCH;
        let at = |seconds| start + Duration::from_secs(seconds);
        roots.learn(&[root(1)], at(0));
        roots.learn(&[root(1), root(2)], at(10));
        assert_eq!(roots.all(), [root(0), root(1), root(2)]);
        roots.learn(&[root(2)], at(20));
        roots.learn(&[root(2)], at(86));
        assert_eq!(roots.all(), [root(0), root(1), root(2)]);
        roots.learn(&[root(2)], at(87));
        assert_eq!(roots.all(), [root(0), root(2)]);
        // A CA that was away for long still has the roots that it has.
        roots.learn(&[root(2)], at(1000));
        assert_eq!(roots.all(), [root(0), root(2)]);
        roots.set_file(vec![root(2)]);
        assert_eq!(roots.all(), [root(2)]);
    }

    #[test]
    fn their_number_is_bounded() {
        let domain = "cluster.local".parse().unwrap();
        let roots = Roots::new(domain, Duration::from_secs(60), vec![root(0)]);
        let many: Vec<_> = (1..100).map(root).collect();
        roots.learn(&many, SystemTime::UNIX_EPOCH);
        assert_eq!(roots.all().len(), MOST + 1);
    }
}
