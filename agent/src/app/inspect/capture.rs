//! Packets of a pod, with what is known of its connections.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{Inspector, connection};
use crate::{
    admin::{self, api},
    capture::{CaptureStatus, Home, PodState},
    packets::{Filter, Recording, Segment, Wanted, Watched},
    proxy::{Connection, Proxy},
    store::Reader,
    telemetry::Direction,
    workload::{ObjectName, Workload},
};

/// At the same time: each has a buffer in the kernel.
const MOST: usize = 4;
/// What is cut off earlier tells neither ports nor what TLS begins with.
const SNAPLENS: RangeInclusive<u32> = 256..=api::SNAPLEN;
/// What is known of connections is looked up again after this many times what it takes.
const SPARE: u32 = 20;

/// Those that are going on.
pub(in crate::app) struct Recordings {
    places: Arc<Semaphore>,
    /// Ends them all.
    pub(in crate::app) stop: CancellationToken,
}

impl Default for Recordings {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MOST)),
            stop: CancellationToken::new(),
        }
    }
}

/// # Errors
/// As [`admin::Inspect::capture`].
pub(super) fn capture(
    inspector: &Inspector,
    question: &api::CaptureQuestion,
) -> Result<admin::Recording, String> {
    let filter: Filter = question
        .filter
        .parse()
        .map_err(|e| format!("filter: {e}"))?;
    if !SNAPLENS.contains(&question.snaplen) {
        let (least, most) = SNAPLENS.into_inner();
        return Err(format!("a packet can be cut after {least} to {most} bytes"));
    }
    let observed = Observed::new(inspector, &question.workload)?;
    let wanted = Wanted {
        snaplen: question.snaplen,
        plaintext: question.plaintext,
        filter,
    };
    let sandbox = observed
        .workload
        .sandbox()
        .map(|s| s.netns.path().to_owned());
    let path = sandbox.as_deref().unwrap_or(Path::new(""));
    let netns = Home::open().and_then(|home| home.netns(path));
    let netns = netns.map_err(|error| error.to_string())?;
    if netns.cookie().0 != observed.netns {
        return Err(format!("{} is leaving this node", question.workload));
    }
    let recording = Recording::begin(&netns, wanted, observed);
    let recording = recording.map_err(|error| error.to_string())?;
    let (question, stop) = (question.clone(), inspector.recordings.stop.clone());
    Ok(Box::new(move |stream| {
        Box::pin(async move {
            let api::CaptureQuestion {
                workload,
                filter,
                plaintext,
                ..
            } = question;
            tracing::warn!(workload, filter, plaintext, "packets are recorded");
            let sent = recording.send(TokioIo::new(stream), stop).await;
            let error = sent.as_ref().err().map(ToString::to_string);
            let summary = sent.unwrap_or_default();
            let dropped = summary.seen.dropped;
            let packets = summary.recorded;
            tracing::info!(
                workload,
                packets,
                dropped,
                error,
                "packets are no longer recorded"
            );
        })
    }))
}

/// The pod, as long as its packets are recorded.
struct Observed {
    workload: Arc<Workload>,
    netns: u64,
    node: String,
    status: watch::Receiver<CaptureStatus>,
    store: Reader,
    connections: Connections,
    _place: OwnedSemaphorePermit,
}

impl Observed {
    fn new(inspector: &Inspector, whose: &str) -> Result<Self, String> {
        let node = &inspector.config.node;
        let name = ObjectName::try_from(whose.to_owned()).ok();
        let enrolled = name
            .as_ref()
            .and_then(|name| netns(&inspector.capture.borrow(), name));
        let workload = name.and_then(|name| inspector.store.current().workload(&name).cloned());
        let (Some(netns), Some(workload)) = (enrolled, workload) else {
            return Err(super::verify::nobody(whose, node));
        };
        let place = Semaphore::try_acquire_owned(Arc::clone(&inspector.recordings.places));
        let place = place.map_err(|_| {
            format!("packets are recorded {MOST} times at this moment, which is as often as an agent does")
        })?;
        Ok(Self {
            connections: Connections::new(Arc::clone(&inspector.proxy), &workload),
            workload,
            netns,
            node: node.clone(),
            status: inspector.capture.clone(),
            store: inspector.store.clone(),
            _place: place,
        })
    }

    fn end(&self, end: SocketAddr) -> String {
        let snapshot = self.store.current();
        match snapshot.workload_at(end.ip()) {
            _ if end.ip().is_loopback() => self.workload.name.to_string(),
            Some(workload) => workload.name.to_string(),
            None => end.to_string(),
        }
    }
}

fn netns(status: &CaptureStatus, name: &ObjectName) -> Option<u64> {
    match status.pods.get(name)? {
        PodState::Enrolled { netns } => Some(*netns),
        PodState::Failed { .. } => None,
    }
}

impl Watched for Observed {
    fn title(&self) -> String {
        let (name, identity) = (&self.workload.name, &self.workload.identity);
        format!("{name} ({identity}) on node {}", self.node)
    }

    fn comment(&mut self, segment: &Segment, already: u8) -> Option<String> {
        match already {
            0 => {
                let (source, destination) =
                    (self.end(segment.source), self.end(segment.destination));
                Some(format!("{source} -> {destination}"))
            }
            _ => self.connections.find(segment),
        }
    }

    fn is_there(&self) -> bool {
        netns(&self.status.borrow(), &self.workload.name) == Some(self.netns)
    }
}

/// What the proxy knows of the connections of a pod.
struct Connections {
    proxy: Arc<Proxy>,
    name: ObjectName,
    addresses: Vec<IpAddr>,
    known: HashMap<Leg, String>,
    looked: Option<Instant>,
    took: Duration,
}

/// How a connection is found by one of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Leg {
    /// What came for the pod; on the wire and on loopback.
    Inbound { client: SocketAddr, port: u16 },
    /// What the agent dialled for it: the ports of both ends.
    Dialled { own: u16, server: u16 },
    /// What the pod dialled, and the agent took: the pod's port.
    Taken { port: u16 },
}

impl Connections {
    fn new(proxy: Arc<Proxy>, workload: &Workload) -> Self {
        Self {
            proxy,
            name: workload.name.clone(),
            addresses: workload.addresses.to_vec(),
            known: HashMap::new(),
            looked: None,
            took: Duration::ZERO,
        }
    }

    fn find(&mut self, segment: &Segment) -> Option<String> {
        let is_old = |since: Instant| since.elapsed() > self.took * SPARE;
        if self.looked.is_none_or(is_old) {
            self.look();
        }
        let mut legs = self.legs(segment).into_iter();
        legs.find_map(|leg| self.known.get(&leg)).cloned()
    }

    fn legs(&self, segment: &Segment) -> Vec<Leg> {
        let is_own = |end: &SocketAddr| self.addresses.contains(&end.ip());
        let (from, to) = (segment.source, segment.destination);
        let ways = [(from, to), (to, from)];
        if segment.is_loopback && from.ip().is_loopback() {
            return ways
                .map(|(own, _)| Leg::Taken { port: own.port() })
                .to_vec();
        }
        let own = ways.iter().filter(|(own, _)| is_own(own));
        let both = own.flat_map(|(own, other)| {
            let inbound = Leg::Inbound {
                client: *other,
                port: own.port(),
            };
            let dialled = Leg::Dialled {
                own: own.port(),
                server: other.port(),
            };
            [inbound, dialled]
        });
        both.filter(|leg| !segment.is_loopback || matches!(leg, Leg::Inbound { .. }))
            .collect()
    }

    fn look(&mut self) {
        let begun = Instant::now();
        self.known.clear();
        for connection in self.proxy.connections.list() {
            if connection.session().is_none() || !self.is_its(&connection) {
                continue;
            }
            let text = described(&connection);
            match connection.direction {
                Direction::Inbound => {
                    let port = connection.destination.port();
                    let client = connection.client;
                    self.known.insert(Leg::Inbound { client, port }, text);
                }
                Direction::Outbound => {
                    let own = connection.wire_port.load(Relaxed);
                    let server = connection.route().map_or(0, |route| route.port);
                    let port = connection.client.port();
                    self.known
                        .insert(Leg::Dialled { own, server }, text.clone());
                    self.known.insert(Leg::Taken { port }, text);
                }
            }
        }
        self.took = begun.elapsed();
        self.looked = Some(Instant::now());
    }

    fn is_its(&self, connection: &Connection) -> bool {
        let Some(route) = connection.route() else {
            return false;
        };
        let own = match connection.direction {
            Direction::Inbound => &route.server,
            Direction::Outbound => &route.source,
        };
        own.as_ref().is_some_and(|own| own.name == self.name)
    }
}

/// Who was proven to be at its ends.
fn described(connection: &Connection) -> String {
    let shown = connection::shown(connection);
    let end = |principal: Option<String>| principal.unwrap_or_else(|| "unproven".to_owned());
    let tls = [shown.tls_version, shown.cipher].into_iter().flatten();
    let tls: Vec<_> = tls.collect();
    format!(
        "{}: client {}, server {}, {}policy {}, connection {}",
        match shown.security {
            api::Security::MutualTls => "mutual TLS",
            api::Security::Tls => "TLS with a server outside of the mesh",
            api::Security::Plaintext => "plaintext",
            api::Security::Probe => "a probe of the kubelet",
        },
        end(shown.source_principal),
        end(shown.destination_principal),
        match tls.is_empty() {
            true => String::new(),
            false => tls.join(" ") + ", ",
        },
        shown.mode,
        shown.id,
    )
}
