//! Typed handles on the shared maps.

use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, Map, MapData, RingBuf, SockHash},
};
use sealane_common::{
    Address, AgentState, Destination, ListenKey, ListenerKey, Workload,
    map::{
        AGENT, CLIENTS, DESTINATIONS, EVENTS, LISTENERS, LISTENING, ORIGINALS, OTHERS, SOCKETS,
        WIRE_EXCUSED, WIRE_FLOWS, WIRE_PROGRAM, WIRE_TOTALS, WORKLOADS,
    },
};

use super::{error::CaptureError, flows::Flows, wire::Wire};

/// Every map that is pinned and shared, with those of aya-log.
pub(super) const NAMES: [&str; 15] = [
    AGENT,
    WORKLOADS,
    OTHERS,
    DESTINATIONS,
    SOCKETS,
    ORIGINALS,
    CLIENTS,
    LISTENING,
    LISTENERS,
    WIRE_FLOWS,
    WIRE_TOTALS,
    WIRE_PROGRAM,
    WIRE_EXCUSED,
    EVENTS,
    "AYA_LOGS",
];

/// All of them, by who touches them.
pub(super) struct Taken {
    pub(super) maps: Maps,
    pub(super) flows: Flows,
    pub(super) wire: Wire,
    pub(super) events: RingBuf<MapData>,
}

/// The maps that only the capture task touches; [`Flows`] and [`Wire`] have the others.
pub(super) struct Maps {
    pub(super) agent: Array<MapData, AgentState>,
    pub(super) workloads: HashMap<MapData, u64, Workload>,
    pub(super) others: HashMap<MapData, u64, u32>,
    pub(super) destinations: LpmTrie<MapData, Address, Destination>,
    pub(super) listening: HashMap<MapData, ListenKey, u32>,
    pub(super) listeners: SockHash<MapData, ListenerKey>,
}

pub(super) fn take(ebpf: &mut Ebpf) -> Result<Taken, CaptureError> {
    let maps = Maps {
        agent: typed(ebpf, AGENT)?,
        workloads: typed(ebpf, WORKLOADS)?,
        others: typed(ebpf, OTHERS)?,
        destinations: typed(ebpf, DESTINATIONS)?,
        listening: typed(ebpf, LISTENING)?,
        listeners: typed(ebpf, LISTENERS)?,
    };
    Ok(Taken {
        maps,
        flows: Flows::new(
            typed(ebpf, ORIGINALS)?,
            typed(ebpf, CLIENTS)?,
            typed(ebpf, WIRE_EXCUSED)?,
        ),
        wire: Wire::new(typed(ebpf, WIRE_FLOWS)?, typed(ebpf, WIRE_TOTALS)?),
        events: typed(ebpf, EVENTS)?,
    })
}

pub(super) fn typed<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, CaptureError>
where
    T: TryFrom<Map, Error = aya::maps::MapError>,
{
    let map = ebpf.take_map(name).ok_or(CaptureError::MissingMap(name))?;
    T::try_from(map).map_err(|source| map_error(name, source))
}

pub(super) fn map_error(name: &'static str, source: aya::maps::MapError) -> CaptureError {
    CaptureError::Map {
        name,
        source: Box::new(source),
    }
}
