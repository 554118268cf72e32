//! The CA's own certificate as a server: issued by itself, and renewed by itself.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{
    ca::{
        CaError, EmbeddedCa, LeafName,
        leaf::{self, LeafKey},
    },
    identity::refresh_at,
};

/// After a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// Handed out in handshakes.
#[derive(Debug)]
pub(super) struct OwnCertificate(ArcSwap<CertifiedKey>);

/// A certificate, and when the next is due.
struct Issued {
    certified: CertifiedKey,
    refresh_at: SystemTime,
}

impl OwnCertificate {
    /// The first, and a task that renews it until it is dropped.
    pub(super) fn new(
        ca: Arc<EmbeddedCa>,
        names: Vec<String>,
    ) -> Result<(Arc<Self>, impl Future<Output = ()>), CaError> {
        let first = issue(&ca, &names)?;
        let own = Arc::new(Self(ArcSwap::from_pointee(first.certified)));
        let renewing = Arc::clone(&own);
        let mut state = ca.state();
        let renew = async move {
            let mut due = first.refresh_at;
            loop {
                let left = due.duration_since(SystemTime::now()).unwrap_or_default();
                // Another key may sign now, under another root: who has only the new one wants to be served, too.
                tokio::select! {
                    () = tokio::time::sleep(left) => {}
                    Ok(()) = state.changed() => {}
                }
                match issue(&ca, &names) {
                    Ok(issued) => {
                        renewing.0.store(Arc::new(issued.certified));
                        due = issued.refresh_at;
                    }
                    Err(error) => {
                        tracing::error!(%error, "the CA can't renew its own certificate");
                        due = SystemTime::now() + PAUSE;
                    }
                }
            }
        };
        Ok((own, renew))
    }
}

fn issue(ca: &EmbeddedCa, names: &[String]) -> Result<Issued, CaError> {
    let key = leaf::generate_key()?;
    let names = LeafName::hosts(names)?;
    let certified = ca.certify(names, &LeafKey(&key), ca.ttl(), SystemTime::now())?;
    let validity = certified.validity;
    Ok(Issued {
        refresh_at: refresh_at(validity.not_before, validity.not_after, fastrand::f64()),
        certified: CertifiedKey::new(certified.chain, leaf::signing_key(&key)?),
    })
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
