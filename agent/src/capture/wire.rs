//! What the programs have counted on the wire of the pods, and the end of what is over.

use std::{
    collections::{HashMap as Map, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aya::maps::{HashMap, MapData, PerCpuHashMap};
use netlink_packet_sock_diag::inet::StateFlags;
use sealane_common::{WireFlow, WireKey, WireTotals};

use super::{Pod, netns::NetnsCookie, sock_diag::SockDiag};

/// After the end of a connection, what was on its way still counts to it.
const LINGER: Duration = Duration::from_secs(2);
/// After so long a silence it is asked whether anybody still has a socket for it.
const IDLE: Duration = Duration::from_secs(60);
/// The same where nothing was ever carried: most are connects that nobody has answered.
const UNUSED: Duration = Duration::from_secs(10);

/// Shared handle on the maps of the wire. One system call for each entry, under a lock of that length.
#[derive(Clone)]
pub struct Wire(Arc<Mutex<Tables>>);

struct Tables {
    flows: HashMap<MapData, WireKey, WireFlow>,
    totals: PerCpuHashMap<MapData, u64, WireTotals>,
}

/// A connection at a pod's interface.
#[derive(Clone, Copy, Debug)]
pub struct WireConnection {
    pub netns: NetnsCookie,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub flow: WireFlow,
    /// Since its last packet.
    pub idle: Duration,
}

impl Wire {
    pub(super) fn new(
        flows: HashMap<MapData, WireKey, WireFlow>,
        totals: PerCpuHashMap<MapData, u64, WireTotals>,
    ) -> Self {
        Self(Arc::new(Mutex::new(Tables { flows, totals })))
    }

    /// Those that are not over.
    #[must_use]
    pub fn connections(&self) -> Vec<WireConnection> {
        let now = super::boottime();
        let flows = self.flows();
        let live = flows.into_iter().filter(|(_, flow)| !flow.is_over());
        live.map(|(key, flow)| WireConnection {
            netns: NetnsCookie(key.netns),
            local: SocketAddr::new(IpAddr::from(key.local), key.local_port),
            remote: SocketAddr::new(IpAddr::from(key.remote), key.remote_port),
            flow,
            idle: Duration::from_nanos(now.saturating_sub(flow.seen)),
        })
        .collect()
    }

    /// All that a pod has sent and received since it came into the mesh.
    #[must_use]
    pub fn totals(&self, netns: NetnsCookie) -> Option<WireTotals> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_processors = tables.totals.get(&netns.0, 0).ok()?;
        let mut sum = WireTotals::default();
        for totals in of_processors.iter() {
            for (sum, way) in sum.ways.iter_mut().zip(&totals.ways) {
                sum.add(way);
            }
            sum.strict += totals.strict;
        }
        Some(sum)
    }

    fn flows(&self) -> Vec<(WireKey, WireFlow)> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.flows.iter().filter_map(Result::ok).collect()
    }

    /// Removes what is over, what nobody has a socket for, and what belongs to none of these pods. Asks the kernel,
    /// and waits for it.
    pub(super) fn sweep(&self, pods: &[Arc<Pod>]) {
        let now = super::boottime();
        let idle_for = |flow: &WireFlow| Duration::from_nanos(now.saturating_sub(flow.seen));
        let known: HashSet<u64> = pods.iter().map(|pod| pod.netns.cookie().0).collect();
        let (mut gone, mut doubtful) = (Vec::new(), Map::<u64, Vec<WireKey>>::new());
        for (key, flow) in self.flows() {
            let patience = if flow.is_silent() { UNUSED } else { IDLE };
            if !known.contains(&key.netns) || (flow.is_over() && idle_for(&flow) > LINGER) {
                gone.push(key);
            } else if idle_for(&flow) > patience {
                doubtful.entry(key.netns).or_default().push(key);
            }
        }
        for pod in pods {
            let Some(keys) = doubtful.remove(&pod.netns.cookie().0) else {
                continue;
            };
            if let Some(open) = open_sockets(pod) {
                gone.extend(keys.into_iter().filter(|key| !open.contains(&ends(key))));
            }
        }
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in gone {
            // It may have become another one meanwhile.
            let is_still = |flow: &WireFlow| flow.seen <= now;
            if tables.flows.get(&key, 0).as_ref().is_ok_and(is_still) {
                let _ = tables.flows.remove(&key);
            }
        }
        let counted: Vec<u64> = tables.totals.keys().filter_map(Result::ok).collect();
        for netns in counted.iter().filter(|netns| !known.contains(netns)) {
            let _ = tables.totals.remove(netns);
        }
    }
}

type Ends = (SocketAddr, SocketAddr);

fn ends(key: &WireKey) -> Ends {
    let local = SocketAddr::new(IpAddr::from(key.local), key.local_port);
    (
        local,
        SocketAddr::new(IpAddr::from(key.remote), key.remote_port),
    )
}

/// `None` when the kernel doesn't say.
fn open_sockets(pod: &Pod) -> Option<HashSet<Ends>> {
    let diag = SockDiag::open(&pod.netns).ok()?;
    let mut open = HashSet::new();
    let canonical = |ip: IpAddr, port| SocketAddr::new(ip.to_canonical(), port);
    diag.dump(&StateFlags::all(), |response| {
        let id = &response.header.socket_id;
        open.insert((
            canonical(id.source_address, id.source_port),
            canonical(id.destination_address, id.destination_port),
        ));
    })
    .ok()?;
    Some(open)
}
