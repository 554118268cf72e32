//! A CA within the agent, its key in a directory: for one machine, or for machines that share the directory.

mod follow;
mod fresh;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use aws_lc_rs::signature::EcdsaKeyPair;
use rcgen::{PublicKeyData, SanType};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use self::fresh::Fresh;
use super::{
    CaError, CaState, Stage,
    authority::{Authority, timestamp},
    directory::Locked,
    leaf::{self, LeafKey, Validity},
    rotation::Record,
    trial::Trial,
};
use crate::{
    file::Stamp,
    identity::{SpiffeId, Svid, TrustBundle, TrustDomain},
};

const UNRECORDED: &str = "no change of key can begin or go on, and certificates live no longer than others have recorded";

/// Issues SVIDs of one trust domain.
pub struct EmbeddedCa {
    dir: PathBuf,
    domain: TrustDomain,
    ttl: Duration,
    /// Of the service that shows certificates of this CA, to those who ask it.
    names: Vec<String>,
    /// As long as certificates may live now, in seconds: less than `ttl` where that can't be recorded.
    life: AtomicU64,
    current: ArcSwap<Authority>,
    bundle: watch::Sender<Arc<TrustBundle>>,
    state: watch::Sender<CaState>,
    seen: Mutex<Seen>,
    looked: Mutex<Instant>,
}

/// Of the directory, when it was read last.
struct Seen {
    stamps: Vec<Option<Stamp>>,
    record: Record,
    fresh: Fresh,
}

/// How a directory is opened.
#[derive(Clone, Copy)]
struct Opening<'a> {
    /// Where there is no CA, one is made.
    makes: bool,
    /// What the service is called; as recorded, if nothing.
    names: &'a [String],
}

impl EmbeddedCa {
    /// Opens the CA of a directory: `ca.key` and `ca.crt` (the issuer first, the rest up to the root after
    /// it), made when neither is there, and `root.crt` with further roots to trust. Blocks while another
    /// process opens the same directory. SVIDs live for `ttl`, at most 24 h.
    ///
    /// # Errors
    /// When the directory or the key is open to others, when the files don't fit together, or when an SVID
    /// issued on trial isn't accepted by the roots.
    pub fn open(dir: &Path, domain: &TrustDomain, ttl: Duration) -> Result<Self, CaError> {
        Self::open_at(dir, domain, ttl, SystemTime::now())
    }

    /// [`open`](Self::open), for a service with these DNS names and addresses: its own certificates must hold, too.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when a name is none.
    pub fn open_for_service(
        dir: &Path,
        domain: &TrustDomain,
        ttl: Duration,
        names: &[String],
    ) -> Result<Self, CaError> {
        let opening = Opening { makes: true, names };
        Self::open_with(dir, domain, ttl, opening, SystemTime::now())
    }

    /// [`open`](Self::open), and never makes a CA.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when there is none.
    pub fn open_existing(dir: &Path, domain: &TrustDomain, ttl: Duration) -> Result<Self, CaError> {
        let names = &[];
        let opening = Opening {
            makes: false,
            names,
        };
        Self::open_with(dir, domain, ttl, opening, SystemTime::now())
    }

    fn open_at(
        dir: &Path,
        domain: &TrustDomain,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Self, CaError> {
        let names = &[];
        Self::open_with(dir, domain, ttl, Opening { makes: true, names }, now)
    }

    fn open_with(
        dir: &Path,
        domain: &TrustDomain,
        ttl: Duration,
        opening: Opening<'_>,
        now: SystemTime,
    ) -> Result<Self, CaError> {
        let ttl = ttl.min(leaf::LONGEST_LIFE);
        let makes = opening.makes && !kept_elsewhere(dir).exists();
        let locked = match makes {
            true => Locked::enter(dir)?,
            false => Locked::existing(dir)?,
        };
        let recorded = locked.repaired()?;
        if makes {
            locked.fill(|| leaf::authority(domain, now))?;
        }
        let recorded = locked.use_life(recorded, ttl, now)?;
        let names = match opening.names {
            [] => recorded.record.names.clone(),
            names => names.to_vec(),
        };
        let trial = Trial {
            domain: Some(domain),
            names: &names,
        };
        let try_out = |files: &_, paths: &_| Authority::tried(files, paths, trial, now);
        let (recorded, moved) = locked.move_on(recorded, now, try_out);
        if let Err(error) = moved {
            tracing::error!(%error, "the change of key doesn't go on");
        }
        let authority = try_out(&locked.files()?, &locked.paths)?;
        let recorded = locked.serve(recorded, opening.names)?;
        if let Some(warning) = recorded.warning(now) {
            tracing::warn!(warning, "{UNRECORDED}");
        }
        Ok(Self {
            dir: dir.to_owned(),
            domain: domain.clone(),
            ttl,
            life: AtomicU64::new(recorded.bound(ttl, now).as_secs()),
            bundle: watch::Sender::new(Arc::new(bundle(domain, &authority))),
            state: watch::Sender::new(CaState::new(&authority, &recorded, now)),
            seen: Mutex::new(Seen {
                stamps: locked.paths.stamps(),
                record: recorded.record,
                fresh: Fresh::default(),
            }),
            names,
            looked: Mutex::new(Instant::now()),
            current: ArcSwap::from_pointee(authority),
        })
    }

    /// Makes a key and certifies it for `id`. Never valid longer than the CA itself.
    ///
    /// # Errors
    /// When the CA has expired, or the crypto library fails.
    pub fn issue(&self, id: &SpiffeId, now: SystemTime) -> Result<Svid, CaError> {
        let key = leaf::generate_key()?;
        let certified = self.certify(leaf::svid_name(id)?, &LeafKey(&key), self.ttl(), now)?;
        certified.into_svid(id.clone(), &key)
    }

    /// Certifies a key for whoever has these names, for `ttl` at most.
    ///
    /// # Errors
    /// When the CA has expired, or the crypto library fails.
    pub(super) fn certify(
        &self,
        names: Vec<SanType>,
        key: &impl PublicKeyData,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Certified, CaError> {
        self.current
            .load()
            .certify(names, key, ttl.min(self.ttl()), now)
    }

    fn trial(&self) -> Trial<'_> {
        Trial {
            domain: Some(&self.domain),
            names: &self.names,
        }
    }

    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The longest life of what it issues.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_secs(self.life.load(Ordering::Relaxed))
    }

    /// At least one.
    pub(super) fn roots(&self) -> Vec<CertificateDer<'static>> {
        self.current.load().roots.clone()
    }

    /// The roots that peers of this trust domain are checked against.
    #[must_use]
    pub fn bundle(&self) -> TrustBundle {
        TrustBundle::clone(&self.bundle.borrow())
    }

    /// [`EmbeddedCa::bundle`], and news of it.
    #[must_use]
    pub fn bundles(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.bundle.subscribe()
    }

    /// How it is, and news of that.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<CaState> {
        self.state.subscribe()
    }

    /// For how long nobody has looked whether the directory has changed.
    #[must_use]
    pub fn unseen(&self) -> Duration {
        let looked = self.looked.lock();
        looked.unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// When the CA, or a certificate above it, expires.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.current.load().not_after
    }
}

/// Beside a directory that `sealane ca keep` has had in hand: what was in it is in a Secret, and comes back from there.
#[must_use]
pub fn kept_elsewhere(dir: &Path) -> PathBuf {
    dir.with_extension("kept")
}

/// Whether what is in a directory can be used: what signs, and what will while a key is changed. Of use where the
/// directory is nobody else's: what a crash has left there is put right.
///
/// # Errors
/// As [`EmbeddedCa::open_existing`].
pub fn check_directory(dir: &Path, domain: &TrustDomain, now: SystemTime) -> Result<(), CaError> {
    let locked = Locked::existing(dir)?;
    let record = locked.record()?;
    let trial = Trial {
        domain: Some(domain),
        names: &record.names,
    };
    Authority::tried(&locked.files()?, &locked.paths, trial, now)?;
    if record.stage() == Stage::Distributing {
        // It keeps nothing from signing that does so now.
        let (files, paths) = locked.next()?;
        if let Err(error) = Authority::tried(&files, &paths, trial, now) {
            tracing::error!(%error, "the change of key can't go on");
        }
    }
    Ok(())
}

fn bundle(domain: &TrustDomain, authority: &Authority) -> TrustBundle {
    let mut bundle = TrustBundle::default();
    for root in &authority.roots {
        bundle.add(domain.clone(), root.clone());
    }
    bundle
}

impl Authority {
    pub(super) fn certify(
        &self,
        names: Vec<SanType>,
        key: &impl PublicKeyData,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Certified, CaError> {
        let expired = || CaError::AuthorityExpired {
            not_after: timestamp(self.not_after),
        };
        let validity = Validity::new(now, ttl, self.not_after).ok_or_else(expired)?;
        let serial = leaf::serial()?;
        let params = leaf::leaf(names, validity, serial);
        let mut chain = vec![self.signer.sign(&params, key)?];
        chain.extend(self.chain.iter().cloned());
        Ok(Certified {
            chain,
            validity,
            serial: format!("{:032x}", u128::from_be_bytes(serial)),
        })
    }
}

/// What the CA has signed.
pub(super) struct Certified {
    /// The leaf first, without the root.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) validity: Validity,
    /// In lower-case hexadecimal.
    pub(super) serial: String,
}

impl Certified {
    /// With the private key that it is for.
    pub(super) fn into_svid(self, id: SpiffeId, key: &EcdsaKeyPair) -> Result<Svid, CaError> {
        Ok(Svid {
            id,
            not_before: self.validity.not_before,
            not_after: self.validity.not_after,
            serial: self.serial,
            certified: Arc::new(CertifiedKey::new(self.chain, leaf::signing_key(key)?)),
        })
    }
}

#[cfg(test)]
mod tests;
