//! The flows of the last while: who came to the pods of this node, how often, and how protected. For the question
//! what another policy would make of them.
//!
//! Connections are counted when they end; those that are open are looked up when somebody asks. Connections that
//! never came to the agent are known only while they are open, and handshakes that failed not at all: nobody knows
//! who that was.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Connection, Proxy,
    connections::{Phase, Session},
    unseen,
};
use crate::{
    policy::{Flow, Protection},
    telemetry::{Direction, RefusalReason},
};

/// As many are kept.
const MOST: usize = 4096;

/// A bounded table: the flow that was quiet for the longest time makes room.
#[derive(Debug)]
pub struct RecentFlows {
    kept: Mutex<Kept>,
    /// Longer ago is forgotten.
    retention: Duration,
    most: usize,
}

#[derive(Debug, Default)]
struct Kept {
    flows: HashMap<Arc<Flow>, Seen>,
    /// By turn.
    order: BTreeMap<u64, Arc<Flow>>,
    turns: u64,
    evicted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// When in the order it was seen last.
    turn: u64,
    connections: u64,
    refused: u64,
    first: Instant,
    last: Instant,
}

/// One flow, as it was seen.
#[derive(Clone, Debug)]
pub struct RecentFlow {
    pub flow: Arc<Flow>,
    /// Since `first`, those that are open included.
    pub connections: u64,
    /// Of these, those that policy refused.
    pub refused: u64,
    /// Of these, those that are open.
    pub open: u64,
    pub first: Instant,
    pub last: Instant,
}

/// What is known.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    pub flows: Vec<RecentFlow>,
    /// How many flows had to make room since the agent's start.
    pub evicted: u64,
}

impl RecentFlows {
    #[must_use]
    pub fn new(retention: Duration) -> Self {
        Self {
            kept: Mutex::default(),
            retention,
            most: MOST,
        }
    }

    /// Counts an inbound connection, if it is known how it was protected.
    pub(super) fn ended(&self, connection: &Connection, refused: Option<RefusalReason>) {
        let by_policy = refused.is_some_and(is_policy);
        let session = match (connection.session(), refused) {
            (Some(session), _) => session,
            (None, Some(RefusalReason::PlaintextInStrict)) => &Session::Plaintext,
            (None, _) => return,
        };
        if let Some(flow) = flow(connection, session) {
            self.count(flow, by_policy, Instant::now());
        }
    }

    fn count(&self, flow: Flow, refused: bool, now: Instant) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = now.checked_sub(self.retention);
        kept.forget(|seen| forgotten.is_some_and(|limit| seen.last < limit));
        if kept.flows.len() >= self.most && !kept.flows.contains_key(&flow) {
            kept.evict();
        }
        kept.add(flow, refused, now);
    }

    /// Without those that are open.
    fn list(&self, since: Option<Instant>) -> Recent {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = kept.flows.iter();
        let recent = recent.filter(|(_, seen)| since.is_none_or(|since| seen.last >= since));
        Recent {
            flows: recent
                .map(|(flow, seen)| RecentFlow {
                    flow: Arc::clone(flow),
                    connections: seen.connections,
                    refused: seen.refused,
                    open: 0,
                    first: seen.first,
                    last: seen.last,
                })
                .collect(),
            evicted: kept.evicted,
        }
    }
}

impl Kept {
    fn add(&mut self, flow: Flow, refused: bool, now: Instant) {
        self.turns += 1;
        let turn = self.turns;
        let flow = match self.flows.get_mut(&flow) {
            Some(seen) => {
                seen.connections += 1;
                seen.refused += u64::from(refused);
                seen.last = now;
                let before = std::mem::replace(&mut seen.turn, turn);
                self.order.remove(&before)
            }
            None => {
                let flow = Arc::new(flow);
                let seen = Seen {
                    turn,
                    connections: 1,
                    refused: u64::from(refused),
                    first: now,
                    last: now,
                };
                self.flows.insert(Arc::clone(&flow), seen);
                Some(flow)
            }
        };
        self.order.extend(flow.map(|flow| (turn, flow)));
    }

    /// Removes the oldest as long as they are like that.
    fn forget(&mut self, old: impl Fn(&Seen) -> bool) {
        while let Some(oldest) = self.order.first_entry() {
            if !self.flows.get(oldest.get()).is_none_or(&old) {
                return;
            }
            self.flows.remove(&oldest.remove());
        }
    }

    fn evict(&mut self) {
        if let Some((_, oldest)) = self.order.pop_first() {
            self.flows.remove(&oldest);
            self.evicted += 1;
        }
    }
}

impl Proxy {
    /// Flows that were seen within the time `last`, and those that are open. Asks the kernel, and waits for it.
    #[must_use]
    pub fn recent_flows(&self, last: Duration) -> Recent {
        let now = Instant::now();
        // First: what ends meanwhile is counted twice rather than not at all.
        let mut open = self.open_flows(now);
        open.extend(unseen::flows(self).map(|flow| (flow, now)));
        let mut recent = self.recent.list(now.checked_sub(last));
        let flows = recent.flows.drain(..);
        let mut all: HashMap<_, _> = flows.map(|r| (Arc::clone(&r.flow), r)).collect();
        for (flow, first) in open {
            let flow = Arc::new(flow);
            let seen = all.entry(Arc::clone(&flow)).or_insert(RecentFlow {
                flow,
                connections: 0,
                refused: 0,
                open: 0,
                first,
                last: now,
            });
            seen.connections += 1;
            seen.open += 1;
            seen.first = seen.first.min(first);
            seen.last = now;
        }
        recent.flows = all.into_values().collect();
        recent
    }

    fn open_flows(&self, now: Instant) -> Vec<(Flow, Instant)> {
        let mut open = Vec::new();
        for connection in self.connections.list() {
            // Before that it may still be refused.
            if connection.phase() != Phase::Open {
                continue;
            }
            let flow = connection.session().and_then(|s| flow(&connection, s));
            let first = now.checked_sub(connection.age()).unwrap_or(now);
            open.extend(flow.map(|flow| (flow, first)));
        }
        open
    }
}

/// `None`: outbound, or it isn't known where it leads; or a probe, for which no policy holds.
fn flow(connection: &Connection, session: &Session) -> Option<Flow> {
    if connection.direction != Direction::Inbound || matches!(session, Session::Probe) {
        return None;
    }
    let route = connection.route()?;
    let (principal, sni) = session.proven();
    Some(Flow {
        client: route.source.as_ref().map(|w| w.name.clone()),
        client_address: connection.client.ip(),
        server: route.server.as_ref()?.name.clone(),
        server_address: connection.destination.ip(),
        port: route.port,
        protection: match principal {
            Some(principal) => Protection::MutualTls {
                client_principal: principal.clone(),
                sni: sni.map(Into::into),
            },
            None => Protection::Plaintext,
        },
    })
}

fn is_policy(reason: RefusalReason) -> bool {
    matches!(
        reason,
        RefusalReason::PlaintextInStrict
            | RefusalReason::AuthorizationDenied
            | RefusalReason::AuthorizationNotAllowed
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::ObjectName;

    fn flow(client: u8) -> Flow {
        Flow {
            client: None,
            client_address: [10, 0, 0, client].into(),
            server: ObjectName::new("shop", "web"),
            server_address: [10, 0, 1, 1].into(),
            port: 80,
            protection: Protection::Plaintext,
        }
    }

    fn clients(recent: &Recent) -> Vec<(String, u64)> {
        let shown = |r: &RecentFlow| (r.flow.client_address.to_string(), r.connections);
        let mut all: Vec<_> = recent.flows.iter().map(shown).collect();
        all.sort();
        all
    }

    fn table(most: usize) -> RecentFlows {
        RecentFlows {
            most,
            ..RecentFlows::new(Duration::from_secs(3600))
        }
    }

    #[test]
    fn connections_of_a_flow_are_one_entry() {
        let table = table(2);
        let begun = Instant::now();
        let later = begun + Duration::from_secs(5);
        table.count(flow(1), false, begun);
        table.count(flow(1), true, later);
        let recent = table.list(None);
        let [seen] = recent.flows.as_slice() else {
            panic!("one flow expected: {recent:?}");
        };
        assert_eq!((seen.connections, seen.refused, seen.open), (2, 1, 0));
        assert_eq!((seen.first, seen.last), (begun, later));
    }

    #[test]
    fn the_quietest_makes_room_and_is_counted() {
        let table = table(2);
        let now = Instant::now();
        for client in [1, 2, 1, 3] {
            table.count(flow(client), false, now);
        }
        let recent = table.list(None);
        let expected = [("10.0.0.1".to_owned(), 2), ("10.0.0.3".to_owned(), 1)];
        assert_eq!(clients(&recent), expected);
        assert_eq!(recent.evicted, 1);
        for client in 10..=250 {
            table.count(flow(client), false, now);
        }
        let kept = table.kept.lock().unwrap();
        assert_eq!((kept.flows.len(), kept.order.len()), (2, 2));
        assert_eq!(kept.evicted, 242);
    }

    #[test]
    fn what_is_long_ago_is_forgotten_and_not_counted_as_evicted() {
        let table = table(8);
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        table.count(flow(1), false, begun);
        table.count(flow(2), false, after(3000));
        assert_eq!(table.list(Some(after(10))).flows.len(), 1);
        table.count(flow(3), false, after(3700));
        let recent = table.list(None);
        let expected = [("10.0.0.2".to_owned(), 1), ("10.0.0.3".to_owned(), 1)];
        assert_eq!(clients(&recent), expected);
        assert_eq!(recent.evicted, 0);
    }
}
