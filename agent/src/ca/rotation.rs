//! A change of the CA's key without a moment in which somebody's certificate isn't believed: its stages, what each
//! waits for, and for how long.
//!
//! A record in the CA's directory says which stage it is. Whoever has the directory open may move it on: stages end
//! at a time that the record has, so it doesn't matter who does. No clock of its own; [`steps`] has the files.

pub(super) mod steps;

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    CaError,
    authority::timestamp,
    leaf::{LONGEST_LIFE, skew},
};

/// A life that nobody has used for this many times itself isn't that of any certificate any more. One would do, if
/// every use were recorded.
const FORGOTTEN: u32 = 2;
/// Recorded again after this part of the life.
const RECORDED: u32 = 10;

/// Of the life: for so long nobody need have recorded it again who is at work all the same.
const AWAY: u32 = 5;

/// How far a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// No change: one key, one root.
    Stable,
    /// The new root is in every bundle that is handed out; the old key signs.
    Distributing,
    /// The new key signs; the old one is kept while processes that share the directory may not know yet.
    Signing,
    /// The old key is gone, its root is in every bundle until no certificate under it is left.
    Retiring,
}

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotated {
    Root,
    Intermediate,
}

/// A change that is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    pub what: Rotated,
    pub stage: Stage,
    /// Of the stage.
    pub since: Timestamp,
    /// When the stage ends.
    pub until: Timestamp,
}

/// What is remembered in the CA's directory beside its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) rotation: Option<Rotation>,
    /// Changes begun so far: who has slept through one can tell.
    #[serde(default)]
    pub(super) generation: u64,
    /// Longest lives, in seconds, that certificates were given, and when each was in use last.
    #[serde(default)]
    lives: BTreeMap<u64, Timestamp>,
    /// When the last of the certificates expires that were issued by hand: nobody renews these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by_hand: Option<Timestamp>,
    /// What the service that has the directory is called, in its own certificate: what signs must be allowed to sign
    /// that, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) names: Vec<String>,
}

impl Stage {
    pub const ALL: [Self; 4] = [
        Self::Stable,
        Self::Distributing,
        Self::Signing,
        Self::Retiring,
    ];

    /// The metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Distributing => "distributing",
            Self::Signing => "signing",
            Self::Retiring => "retiring",
        }
    }

    /// In the operator's words.
    #[must_use]
    pub fn waits_for(self) -> &'static str {
        match self {
            Self::Stable => "nothing",
            Self::Distributing => {
                "every certificate from before to be renewed, which brings its holder the new root"
            }
            Self::Signing => "all who share the directory to sign with the new key",
            Self::Retiring => "the last certificate that the old key has signed to expire",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Rotated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Intermediate => "intermediate",
        })
    }
}

impl Record {
    pub(super) fn stage(&self) -> Stage {
        self.rotation
            .map_or(Stage::Stable, |rotation| rotation.stage)
    }

    /// # Errors
    /// While a change is going on.
    pub(super) fn check_stable(&self) -> Result<(), CaError> {
        self.rotation
            .map_or(Ok(()), |rotation| Err(CaError::Rotating { rotation }))
    }

    /// With a change begun. `known`: the new key's root is in all bundles already.
    pub(super) fn begun(&self, what: Rotated, known: bool, now: SystemTime) -> Self {
        let stage = match known {
            true => Stage::Signing,
            false => Stage::Distributing,
        };
        let mut begun = self.clone();
        begun.rotation = Some(self.entered(what, stage, now));
        begun.generation = begun.generation.wrapping_add(1);
        begun
    }

    /// Without the change, which may still be given up.
    pub(super) fn aborted(&self) -> Result<Self, CaError> {
        match self.rotation {
            Some(rotation) if rotation.stage == Stage::Distributing => {
                let mut aborted = self.clone();
                aborted.rotation = None;
                Ok(aborted)
            }
            Some(rotation) => Err(CaError::TooLateToAbort { rotation }),
            None => Err(CaError::NothingToAbort),
        }
    }

    /// Nobody waits for certificates that were issued by hand any more.
    pub(super) fn hurried(&self) -> Self {
        let mut hurried = self.clone();
        hurried.by_hand = None;
        hurried.rotation = self
            .rotation
            .map(|r| hurried.entered(r.what, r.stage, r.since.into()));
        hurried
    }

    /// The next stage, if it is time.
    pub(super) fn advanced(&self, now: SystemTime) -> Option<Self> {
        let rotation = self.rotation.filter(|r| r.until <= timestamp(now))?;
        if self.away(now).is_some() {
            return None;
        }
        let next = match rotation.stage {
            Stage::Distributing => Some(Stage::Signing),
            Stage::Signing => Some(Stage::Retiring),
            Stage::Retiring | Stage::Stable => None,
        };
        let mut advanced = self.clone();
        advanced.rotation = next.map(|stage| self.entered(rotation.what, stage, now));
        Some(advanced)
    }

    /// When every certificate is renewed that was valid at a time; none is issued for longer meanwhile.
    pub(super) fn renewed(&self, since: SystemTime) -> Timestamp {
        self.entered(Rotated::Root, Stage::Distributing, since)
            .until
    }

    /// With the service's names, if they aren't recorded.
    pub(super) fn serving(&self, names: &[String]) -> Option<Self> {
        (!names.is_empty() && self.names != names).then(|| {
            let mut serving = self.clone();
            serving.names = names.to_vec();
            serving
        })
    }

    fn entered(&self, what: Rotated, stage: Stage, now: SystemTime) -> Rotation {
        let life = self.longest(now);
        let after = |lasts| timestamp(now + lasts);
        let until = match stage {
            // Any certificate that is valid afterwards was issued meanwhile: its holder has the new root. That is
            // true of every client, whenever it renews.
            Stage::Distributing | Stage::Retiring => {
                let until = after(life + skew(life));
                let by_hand = self.by_hand.map(|end| later(end, skew(LONGEST_LIFE)));
                by_hand.map_or(until, |by_hand| by_hand.max(until))
            }
            Stage::Signing => after(skew(life)),
            Stage::Stable => after(Duration::ZERO),
        };
        Rotation {
            what,
            stage,
            since: timestamp(now),
            until,
        }
    }

    /// When the last certificate that was issued by hand expires, if that is yet to come.
    pub(super) fn by_hand(&self, now: SystemTime) -> Option<Timestamp> {
        self.by_hand.filter(|end| *end > timestamp(now))
    }

    /// With a certificate that somebody issues by hand, if it lasts longer than all of these before.
    pub(super) fn issued(&self, end: SystemTime) -> Option<Self> {
        let end = timestamp(end);
        self.by_hand.is_none_or(|known| known < end).then(|| {
            let mut issued = self.clone();
            issued.by_hand = Some(end);
            issued
        })
    }

    /// With the life that a process gives certificates at most, if that isn't recorded or was so long ago.
    pub(super) fn used(&self, life: Duration, now: SystemTime) -> Option<Self> {
        let last = self.lives.get(&life.as_secs());
        let due = |last: &Timestamp| timestamp(now) >= later(*last, life / RECORDED);
        last.is_none_or(due).then(|| {
            let mut used = self.resumed(now);
            used.lives
                .retain(|seconds, last| !forgotten(*seconds, *last, now));
            used.lives.insert(life.as_secs(), timestamp(now));
            used
        })
    }

    /// For how long nobody has been at work who tells of a new root, while that is to be told.
    fn away(&self, now: SystemTime) -> Option<Duration> {
        let rotation = self.rotation.filter(|r| r.stage == Stage::Distributing)?;
        let last = SystemTime::from((*self.lives.values().max()?).max(rotation.since));
        let away = now.duration_since(last).unwrap_or_default();
        (away > self.longest(last) / AWAY).then_some(away)
    }

    /// Time in which nobody was told anything doesn't count. Neither does what a clock leaps over.
    fn resumed(&self, now: SystemTime) -> Self {
        let mut resumed = self.clone();
        if let (Some(rotation), Some(away)) = (&mut resumed.rotation, self.away(now)) {
            rotation.until = later(rotation.until, away);
        }
        resumed
    }

    /// No certificate that is valid was given a longer life, but by hand. Where nothing is recorded: the longest there is.
    pub(super) fn longest(&self, now: SystemTime) -> Duration {
        let lives = self.lives.iter();
        let alive = lives.filter(|(seconds, last)| !forgotten(**seconds, **last, now));
        let longest = alive.map(|(seconds, _)| life(*seconds));
        longest.max().unwrap_or(LONGEST_LIFE)
    }
}

fn forgotten(seconds: u64, last: Timestamp, now: SystemTime) -> bool {
    later(last, life(seconds) * FORGOTTEN) < timestamp(now)
}

/// Nobody gives a longer one, whatever a record says.
fn life(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(LONGEST_LIFE)
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    timestamp(SystemTime::from(time) + by)
}

#[cfg(test)]
mod tests;
