//! Flows as the admin side shows them.

use std::time::{Duration, Instant, SystemTime};

use super::timestamp;
use crate::{
    proxy::{Recent, RecentFlow},
    review::{Flows, SeenFlow},
};

/// Those of the time `last`, the latest first.
pub(super) fn shown(recent: Recent, last: Duration) -> Flows {
    let now = (Instant::now(), SystemTime::now());
    let Recent { mut flows, evicted } = recent;
    flows.sort_unstable_by_key(|recent| std::cmp::Reverse(recent.last));
    Flows {
        window_seconds: last.as_secs(),
        evicted,
        flows: flows.iter().map(|recent| seen(recent, now)).collect(),
    }
}

fn seen(recent: &RecentFlow, now: (Instant, SystemTime)) -> SeenFlow {
    let at = |instant| timestamp(now.1 - now.0.saturating_duration_since(instant));
    SeenFlow {
        connections: recent.connections,
        refused: recent.refused,
        open: recent.open,
        first_seen: Some(at(recent.first)),
        last_seen: Some(at(recent.last)),
        flow: (*recent.flow).clone(),
    }
}
