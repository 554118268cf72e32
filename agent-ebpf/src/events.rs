//! What the agent should hear of. A full ring drops the record: events are for people, not for decisions.

use sealane_common::{Address, Event};

use crate::maps::EVENTS;

pub fn emit(kind: u32, netns: u64, address: Address, port: u16) {
    let event = Event {
        kind,
        port,
        pad: 0,
        netns,
        address,
    };
    let _ = EVENTS.output::<Event>(&event, 0);
}
