//! What an operator asks of a CA's directory: how it is, a change of its key, and giving one up.
//!
//! Needs no service: whoever has the directory open sees the record within a second and does the rest.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    CaError, KeyType, Kind, Order, Rotated, Rotation,
    authority::{Authority, time, timestamp},
    directory::{Locked, NewAuthority, Paths, Recorded},
    leaf, pem,
    rotation::{Record, steps},
    trial::Trial,
};
use crate::identity::TrustDomain;

/// What to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotate {
    /// The self-made root. The trust domain, if the present root doesn't say it.
    Root { domain: Option<TrustDomain> },
    /// The key under another CA, which is in this directory.
    Intermediate { issuer: PathBuf },
    /// Nothing, after all.
    Abort,
    /// Nothing else, but without regard for certificates that were issued by hand.
    Hurry,
}

/// How a CA is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaState {
    /// `None`: stable.
    pub rotation: Option<Rotation>,
    /// Everything that peers are told to trust.
    pub anchors: Vec<Anchor>,
    /// When the CA, or a certificate above it, expires.
    pub not_after: Timestamp,
    /// When the last certificate expires that `sealane ca issue` has made.
    pub by_hand: Option<Timestamp>,
    /// Why nothing can be recorded, on which a change of key depends.
    pub unrecorded: Option<String>,
    /// Why the files as they are now are not in force.
    pub error: Option<String>,
}

/// A root, as status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub subject: String,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub fingerprint: String,
    pub not_after: Timestamp,
    pub usage: AnchorUse,
}

/// What a root is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorUse {
    /// What is issued now is under it.
    Signing,
    /// Will sign.
    Next,
    /// Has signed.
    Old,
    /// Of `root.crt`.
    Trusted,
}

impl AnchorUse {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::Next => "next",
            Self::Old => "old",
            Self::Trusted => "trusted",
        }
    }
}

impl CaState {
    /// Of a directory, in which nothing is changed.
    ///
    /// # Errors
    /// When there is no CA in it, or it can't be used.
    pub fn of(dir: &Path, now: SystemTime) -> Result<Self, CaError> {
        let locked = Locked::untouched(dir)?;
        let record = locked.record()?;
        let authority = Authority::new(&locked.files()?, &locked.paths, None, now)?;
        Ok(Self::new(&authority, &Recorded::seen(record, now), now))
    }

    /// Of a directory, after what is due there has been done.
    ///
    /// # Errors
    /// When there is no CA in it, or it can't be used, or what is due can't be done.
    pub fn moved_on(dir: &Path, now: SystemTime) -> Result<Self, CaError> {
        let locked = Locked::existing(dir)?;
        let record = advance(&locked, now)?;
        let authority = Authority::new(&locked.files()?, &locked.paths, None, now)?;
        Ok(Self::new(&authority, &record.into(), now))
    }

    pub(super) fn new(authority: &Authority, recorded: &Recorded, now: SystemTime) -> Self {
        Self {
            rotation: recorded.record.rotation,
            anchors: authority.anchors.clone(),
            not_after: timestamp(authority.not_after),
            by_hand: recorded.record.by_hand(now),
            unrecorded: recorded.warning(now),
            error: None,
        }
    }
}

impl Anchor {
    pub(super) fn new(der: &[u8], usage: AnchorUse) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        Some(Self {
            subject: parsed.subject().to_string(),
            fingerprint: digest.as_ref().iter().map(|b| format!("{b:02x}")).collect(),
            not_after: timestamp(time(parsed.validity().not_after)),
            usage,
        })
    }
}

impl Rotate {
    /// Begins the change, or gives it up, in a CA's directory.
    ///
    /// # Errors
    /// When one is going on already, when the key isn't this CA's to change, or when files can't be written.
    pub fn apply(&self, dir: &Path, now: SystemTime) -> Result<CaState, CaError> {
        let locked = Locked::existing(dir)?;
        let record = match self {
            // Also when it would be time to go on, and what would sign turns out to be of no use.
            Self::Abort => {
                let aborted = locked.record()?.aborted()?;
                locked.turn(&aborted)?;
                aborted
            }
            Self::Hurry => {
                locked.paths.check_ours()?;
                locked.turn(&locked.record()?.hurried())?;
                advance(&locked, now)?
            }
            Self::Root { .. } | Self::Intermediate { .. } => {
                let record = advance(&locked, now)?;
                self.begin(dir, &locked, &record, now)?
            }
        };
        let authority = Authority::new(&locked.files()?, &locked.paths, None, now)?;
        Ok(CaState::new(&authority, &record.into(), now))
    }

    fn begin(
        &self,
        dir: &Path,
        locked: &Locked,
        record: &Record,
        now: SystemTime,
    ) -> Result<Record, CaError> {
        record.check_stable()?;
        locked.paths.check_ours()?;
        let present = Authority::new(&locked.files()?, &locked.paths, None, now)?;
        let (what, new, above) = match self {
            Self::Intermediate { issuer } => {
                // It is locked already.
                if same(issuer, dir) {
                    let path = issuer.clone();
                    return Err(CaError::OwnIssuer { path });
                }
                let new = intermediate(issuer, now)?;
                (Rotated::Intermediate, new, Some(Paths::new(issuer)))
            }
            Self::Root { domain } => {
                let new = root(locked, &present, domain.as_ref(), now)?;
                (Rotated::Root, new, None)
            }
            Self::Abort | Self::Hurry => return Err(CaError::NothingToAbort),
        };
        // Found now what would be found when it is to sign.
        let paths = above.as_ref().unwrap_or(&locked.paths);
        let trial = Trial {
            domain: present.domain.as_ref(),
            names: &record.names,
        };
        let tried = Authority::tried(&new.files(), paths, trial, now)?;
        // What has only been put into a file may not have been told yet.
        let is_known = |root: &CertificateDer<'static>| {
            let alone = std::slice::from_ref(root);
            Ok::<_, CaError>(
                present.signs_under(root) && present.try_out(trial, alone, now)?.is_ok(),
            )
        };
        let mut known = true;
        for root in &tried.roots {
            known &= is_known(root)?;
        }
        let begun = record.begun(what, known, now);
        check_end(&begun, &tried, &paths.certificate)?;
        for step in steps::begin(&locked.paths, &new, &begun)? {
            step.take()?;
        }
        locked.repair(&begun)?;
        Ok(begun)
    }
}

/// What has ended when it is to sign would never sign.
fn check_end(begun: &Record, new: &Authority, issuer: &Path) -> Result<(), CaError> {
    let until = begun.rotation.map(|rotation| rotation.until);
    let not_after = timestamp(new.not_after);
    match until.filter(|until| not_after <= *until) {
        None => Ok(()),
        Some(until) => Err(CaError::EndsEarly {
            issuer: issuer.to_owned(),
            not_after,
            until,
        }),
    }
}

/// Everything that is due.
fn advance(locked: &Locked, now: SystemTime) -> Result<Record, CaError> {
    let mut record = locked.record()?;
    let names = record.names.clone();
    let trial = Trial {
        domain: None,
        names: &names,
    };
    let try_out = |files: &_, paths: &_| Authority::tried(files, paths, trial, now);
    while let Some(next) = locked.advance(&record, now, try_out)? {
        record = next;
    }
    Ok(record)
}

/// By whatever names.
fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(one).is_some_and(|one| Some(one) == real(other))
}

fn root(
    locked: &Locked,
    present: &Authority,
    domain: Option<&TrustDomain>,
    now: SystemTime,
) -> Result<NewAuthority, CaError> {
    let paths = &locked.paths;
    if !present.is_root {
        return Err(CaError::RootOfOthers {
            certificate: paths.certificate.clone(),
            roots: paths.roots.clone(),
        });
    }
    let domain = present.domain.as_ref().or(domain);
    let domain = domain.ok_or_else(|| CaError::DomainUnknown {
        certificate: paths.certificate.clone(),
    })?;
    leaf::authority(domain, now)
}

/// Under the CA of another directory, with the roots behind it.
fn intermediate(issuer: &Path, now: SystemTime) -> Result<NewAuthority, CaError> {
    let order = Order {
        kind: Kind::Intermediate {
            name: leaf::authority_name(leaf::serial()?),
            ca: issuer.to_owned(),
        },
        key_type: KeyType::P256,
        ttl: leaf::AUTHORITY_LIFE,
    };
    let made = order.make(now)?;
    let roots: String = made.roots.iter().map(|der| pem(der)).collect();
    Ok(NewAuthority {
        key_pem: made.key_pem,
        certificate_pem: made.chain + &roots,
    })
}
