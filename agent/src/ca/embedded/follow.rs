//! Sees what becomes of the CA's directory while it is in use, and moves a change of key on.

use std::{
    mem,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use tokio::{task::spawn_blocking, time};
use tokio_util::sync::CancellationToken;

use super::{EmbeddedCa, Seen, UNRECORDED, bundle};
use crate::ca::{
    CaError, CaState,
    authority::{Authority, timestamp},
    directory::{Locked, Paths, Recorded},
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
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn load(&self, seen: &mut Seen, now: SystemTime) -> Result<(), CaError> {
        let failing = self.state.borrow().error.is_some();
        let due = seen.record.advanced(now).is_some() || seen.record.used(self.ttl, now).is_some();
        if !due && !failing && Paths::new(&self.dir).stamps() == seen.stamps {
            return Ok(());
        }
        let locked = Locked::existing(&self.dir)?;
        while self.settle(&locked, seen, now)? {}
        Ok(())
    }

    /// Takes the files as they are, and moves a change of key on when it is time: true when there are others then.
    fn settle(&self, locked: &Locked, seen: &mut Seen, now: SystemTime) -> Result<bool, CaError> {
        let recorded = locked.use_life(locked.repaired()?, self.ttl, now)?;
        let rotation = recorded.record.rotation;
        let settled = self.take(locked, recorded, seen, now);
        if settled.is_err() {
            // Whatever becomes of the files. With good ones it is told when they are in force.
            self.state.send_if_modified(|state| {
                let before = mem::replace(&mut state.rotation, rotation);
                before != state.rotation
            });
        }
        settled
    }

    fn take(
        &self,
        locked: &Locked,
        recorded: Recorded,
        seen: &mut Seen,
        now: SystemTime,
    ) -> Result<bool, CaError> {
        let stamps = locked.paths.stamps();
        let try_out = |files: &_, paths: &_| Authority::tried(files, paths, self.trial(), now);
        let authority = try_out(&locked.files()?, &locked.paths)?;
        // Who has slept through a change that others have made can't have been told of its root.
        if recorded.record.generation == seen.record.generation {
            self.check_told(&authority, &locked.paths, (seen, &recorded.record), now)?;
        }
        // Nothing stands in the way of these files any more: what they replace may go.
        let (recorded, moved) = locked.move_on(recorded, now, try_out);
        let life = recorded.bound(self.ttl, now).as_secs();
        self.life.store(life, Ordering::Relaxed);
        let state = CaState::new(&authority, &recorded, now);
        self.announce(&authority, &recorded.record, &state, seen);
        let present = self.current.load_full();
        seen.fresh.learn(&present.anchors, &authority.anchors, now);
        seen.stamps = stamps;
        seen.record = recorded.record;
        self.publish(authority, state);
        moved
    }

    /// Who was told of roots until now must believe what is issued from now on, and the other way round.
    fn check_told(
        &self,
        new: &Authority,
        paths: &Paths,
        (seen, record): (&Seen, &Record),
        now: SystemTime,
    ) -> Result<(), CaError> {
        let trial = self.trial();
        let present = self.current.load();
        // What has been issued until now.
        if now < present.not_after {
            let lost = |_| CaError::RootLost {
                roots: paths.roots.clone(),
            };
            present.try_out(trial, &new.roots, now)?.map_err(lost)?;
        }
        let unknown = |_| CaError::RootUnknown {
            certificate: paths.certificate.clone(),
            roots: paths.roots.clone(),
        };
        new.try_out(trial, &present.roots, now)?.map_err(unknown)?;
        let (known, until) = seen.fresh.known(&present.roots, record, now);
        let early = |_| CaError::RootFresh {
            certificate: paths.certificate.clone(),
            until,
        };
        new.try_out(trial, &known, now)?.map_err(early)
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
