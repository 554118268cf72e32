//! One identity's SVID and when the next is due.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{SvidState, SvidStatus};
use crate::identity::{SpiffeId, Svid, Urgency, refresh_at, urgency};

/// First pause after a failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// While traffic is refused, or soon will be.
const LONGEST_URGENT_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Held {
    svid: Option<Arc<Svid>>,
    due_at: SystemTime,
    refresh_at: SystemTime,
    failures: u32,
    last_error: Option<String>,
    /// There are some that it hasn't been asked for since.
    news: bool,
}

impl Held {
    /// Wanted from `now` on, and due at once.
    pub(super) fn missing(now: SystemTime) -> Self {
        Self {
            svid: None,
            due_at: now,
            refresh_at: now,
            failures: 0,
            last_error: None,
            news: false,
        }
    }

    pub(super) fn svid(&self) -> Option<Arc<Svid>> {
        self.svid.clone()
    }

    pub(super) fn due_at(&self) -> SystemTime {
        self.due_at
    }

    /// Whether the last attempt failed.
    pub(super) fn has_failed(&self) -> bool {
        self.last_error.is_some()
    }

    pub(super) fn urgency(&self, now: SystemTime) -> Urgency {
        self.svid.as_ref().map_or(Urgency::Missing, |svid| {
            urgency(svid.not_before, svid.not_after, self.refresh_at, now)
        })
    }

    /// The issuer has news for it, also for whoever is asking at this moment: the answer may be from before.
    pub(super) fn hurry(&mut self, now: SystemTime) {
        self.due_at = self.due_at.min(now);
        self.news = true;
    }

    /// The issuer is being asked.
    pub(super) fn asked(&mut self) {
        self.news = false;
    }

    pub(super) fn has_news(&self) -> bool {
        self.news
    }

    /// The issuer has taken it back.
    pub(super) fn withdraw(&mut self) {
        self.svid = None;
    }

    /// `random` in `0.0..1.0` spreads the renewals. One that is late in its life already, from an issuer that renews by
    /// itself, is looked after again in what is left of it.
    pub(super) fn renewed(&mut self, svid: Arc<Svid>, now: SystemTime, random: f64) {
        let mut refresh_at = refresh_at(svid.not_before, svid.not_after, random);
        if refresh_at <= now {
            refresh_at = self::refresh_at(now, svid.not_after, random).max(now + FIRST_PAUSE);
        }
        *self = Self {
            svid: Some(svid),
            due_at: if self.news { now } else { refresh_at },
            refresh_at,
            failures: 0,
            last_error: None,
            news: self.news,
        };
    }

    /// The SVID held stays; the next attempt comes after a pause that grows.
    pub(super) fn failed(&mut self, error: &dyn Error, now: SystemTime, random: f64) {
        let longest = match self.urgency(now) {
            Urgency::Missing | Urgency::Expiring => LONGEST_URGENT_PAUSE,
            Urgency::Due | Urgency::Fresh => LONGEST_PAUSE,
        };
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16));
        let pause = doubled.min(longest).mul_f64(0.5 + 0.5 * random);
        self.due_at = if self.news { now } else { now + pause };
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(error.to_string());
    }

    pub(super) fn status(&self, identity: SpiffeId, now: SystemTime) -> SvidStatus {
        let state = match &self.svid {
            Some(svid) if now < svid.not_after => SvidState::Valid,
            Some(_) => SvidState::Expired,
            None => SvidState::Missing,
        };
        SvidStatus {
            identity,
            state,
            svid: self.svid.clone(),
            refresh_at: self.due_at,
            last_error: self.last_error.clone(),
        }
    }
}
