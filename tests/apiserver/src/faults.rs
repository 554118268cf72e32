//! Faults that tests order: single requests that fail, watches that break, abilities that are missing.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::{request::Target, resources::Resource};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// An error, with `Retry-After` if it is given (seconds).
    #[serde(rename_all = "camelCase")]
    Status { code: u16, retry_after: Option<u32> },
    /// Served later.
    Delay { millis: u64 },
    /// Never answered.
    Hang,
    /// The connection is closed without an answer.
    Drop,
    /// The connection is closed after so many bytes of the body.
    Cut { bytes: usize },
}

/// Which requests something happens to. What isn't given holds for any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    pub user: Option<String>,
    pub verb: Option<String>,
    /// `plural`, of any group.
    pub resource: Option<String>,
    /// So many requests; without it, until the faults are cleared.
    pub times: Option<u32>,
    pub effect: Option<Effect>,
}

/// How running watches end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum How {
    /// In order, as after their time-out.
    Close,
    /// With an ERROR event: 410.
    Expired,
    /// With an ERROR event: 500.
    Error,
    /// In the middle of an object.
    Cut,
    /// The connection is closed within the response.
    Abort,
    /// Nothing more is sent, and the connection stays.
    Silence,
}

/// An order to end watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Break {
    pub how: How,
    /// `plural`; without it, all.
    #[serde(default)]
    pub resource: Option<String>,
}

impl Break {
    pub fn concerns(&self, resource: &Resource) -> bool {
        self.resource
            .as_ref()
            .is_none_or(|plural| *plural == resource.plural)
    }
}

/// What is ordered now.
#[derive(Debug)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
    breaks: broadcast::Sender<Break>,
    bookmarks: AtomicBool,
    streaming_lists: AtomicBool,
    refuse_old_watches: AtomicBool,
}

impl Faults {
    #[must_use]
    pub fn new(streaming_lists: bool) -> Self {
        Self {
            rules: Mutex::default(),
            breaks: broadcast::Sender::new(16),
            bookmarks: AtomicBool::new(true),
            streaming_lists: AtomicBool::new(streaming_lists),
            refuse_old_watches: AtomicBool::new(false),
        }
    }

    /// What has been ordered and not cleared.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.clone()
    }

    /// What is to happen to this request. Counts it.
    pub fn strike(&self, user: &str, target: &Target) -> Option<Effect> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = rules
            .iter_mut()
            .find(|rule| rule.times != Some(0) && rule.concerns(user, target))?;
        if let Some(times) = &mut rule.times {
            *times -= 1;
        }
        rule.effect
    }

    pub fn add(&self, rule: Rule) {
        self.rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(rule);
    }

    /// Everything is served again, with all abilities.
    pub fn clear(&self) {
        self.rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.set_bookmarks(true);
        self.set_refuses_old_watches(false);
    }

    pub fn break_watches(&self, order: Break) {
        // Nobody watches: nothing to break.
        let _ = self.breaks.send(order);
    }

    pub fn breaks(&self) -> broadcast::Receiver<Break> {
        self.breaks.subscribe()
    }

    pub fn sends_bookmarks(&self) -> bool {
        self.bookmarks.load(Ordering::Relaxed)
    }

    pub fn set_bookmarks(&self, on: bool) {
        self.bookmarks.store(on, Ordering::Relaxed);
    }

    pub fn streams_lists(&self) -> bool {
        self.streaming_lists.load(Ordering::Relaxed)
    }

    pub fn set_streaming_lists(&self, on: bool) {
        self.streaming_lists.store(on, Ordering::Relaxed);
    }

    /// Whether a watch from a forgotten version is answered with HTTP 410 rather than with an ERROR event.
    pub fn refuses_old_watches(&self) -> bool {
        self.refuse_old_watches.load(Ordering::Relaxed)
    }

    pub fn set_refuses_old_watches(&self, on: bool) {
        self.refuse_old_watches.store(on, Ordering::Relaxed);
    }
}

impl Rule {
    fn concerns(&self, user: &str, target: &Target) -> bool {
        let is = |wanted: &Option<String>, real: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == real)
        };
        is(&self.user, user) && is(&self.verb, target.verb) && is(&self.resource, &target.plural)
    }
}
