//! Sees what becomes of the CA's directory while it is in use, and moves a change of key on.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};

use tokio::{task::spawn_blocking, time};
use tokio_util::sync::CancellationToken;

use super::{EmbeddedCa, Seen, UNRECORDED, bundle};
use crate::ca::{
    CaError, CaState,
    authority::{Authority, timestamp},
    directory::{Locked, Paths},
    rotation::Record,
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

impl EmbeddedCa {
    /// Follows the directory until `stop`.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = time::sleep(LOOK) => {}
            }
            let ca = Arc::clone(&self);
            let looking = spawn_blocking(move || ca.look(SystemTime::now()));
            if let Err(error) = looking.await {
                tracing::error!(%error, "the CA's directory isn't looked at");
            }
        }
    }

    /// Takes what is new and good; what isn't good leaves everything as it is.
    pub(in crate::ca) fn look(&self, now: SystemTime) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = match self.load(&mut seen, now) {
            Ok(()) => None,
            Err(error) => Some(error.to_string()),
        };
        self.state.send_if_modified(|state| {
            if state.error == failed {
                return false;
            }
            match &failed {
                Some(error) => tracing::error!(error, "the CA goes on with its last good files"),
                None => tracing::info!("the CA's files are good again"),
            }
            state.error = failed;
            true
        });
    }

    fn load(&self, seen: &mut Seen, now: SystemTime) -> Result<(), CaError> {
        let failing = self.state.borrow().error.is_some();
        let due = seen.record.advanced(now).is_some() || seen.record.used(self.ttl, now).is_some();
        if !due && !failing && Paths::new(&self.dir).stamps() == seen.stamps {
            return Ok(());
        }
        let locked = Locked::existing(&self.dir)?;
        let recorded = locked.advance_if_writable(now)?;
        let recorded = locked.use_life(recorded, self.ttl, now)?;
        let life = recorded.bound(self.ttl, now).as_secs();
        self.life.store(life, Ordering::Relaxed);
        let stamps = locked.paths.stamps();
        let authority = Authority::new(&locked.files()?, &locked.paths, Some(&self.domain), now)?;
        authority.try_out(&self.domain, &authority.roots, now)?;
        // Who has slept through a change that others have made can't have been told of its root.
        if recorded.record.generation == seen.record.generation {
            let present = self.current.load();
            let told = &present.roots;
            let lost = |_| CaError::RootLost {
                roots: locked.paths.roots.clone(),
            };
            // What has been issued until now.
            if now < present.not_after {
                present
                    .try_out(&self.domain, &authority.roots, now)
                    .map_err(lost)?;
            }
            let unknown = |_| CaError::RootUnknown {
                certificate: locked.paths.certificate.clone(),
                roots: locked.paths.roots.clone(),
            };
            authority
                .try_out(&self.domain, told, now)
                .map_err(unknown)?;
        }
        drop(locked);
        let state = CaState::new(&authority, &recorded, now);
        self.announce(&authority, &recorded.record, &state, seen);
        *seen = Seen {
            stamps,
            record: recorded.record,
        };
        self.publish(authority, state);
        Ok(())
    }

    fn announce(&self, authority: &Authority, record: &Record, state: &CaState, seen: &Seen) {
        if let Some(warning) = &state.unrecorded
            && self.state.borrow().unrecorded.is_none()
        {
            tracing::warn!(warning, "{UNRECORDED}");
        }
        let (stage, before) = (record.stage(), seen.record.stage());
        if stage != before {
            let until = record.rotation.map(|rotation| rotation.until);
            tracing::info!(%stage, until = until.map(|until| until.to_string()), "rotation");
        }
        let present = self.current.load();
        if authority.chain != present.chain || authority.roots != present.roots {
            let roots = authority.roots.len();
            let not_after = timestamp(authority.not_after);
            tracing::info!(roots, %not_after, "the CA's files are read again");
        }
    }

    fn publish(&self, authority: Authority, state: CaState) {
        let roots = Arc::new(bundle(&self.domain, &authority));
        // Whoever gets a certificate gets the roots above it with it: these come first.
        let news = self.bundle.send_if_modified(|known| {
            let news = **known != *roots;
            *known = roots;
            news
        });
        self.current.store(Arc::new(authority));
        if news {
            // For those who asked for more than the bundle while the files before were in force.
            self.bundle.send_modify(|_| {});
        }
        self.state.send_if_modified(|known| {
            let error = known.error.take();
            let news = *known != state;
            *known = CaState { error, ..state };
            news
        });
    }
}
