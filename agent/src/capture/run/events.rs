//! Records from the kernel.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use aya_log::EbpfLogger;
use sealane_common::{Address, Event, EventKind};
use tokio::io::unix::AsyncFd;

use super::{Capture, Notice};
use crate::{capture::netns::NetnsCookie, offload::sys};

/// Records that are taken at once: a pod that makes many must not keep the lease from being renewed.
const BATCH: usize = 512;

/// The ring buffer, with a second descriptor that the reactor watches.
pub(super) struct Ring {
    buffer: RingBuf<MapData>,
    watched: AsyncFd<OwnedFd>,
}

impl Ring {
    pub(super) fn new(buffer: RingBuf<MapData>) -> io::Result<Self> {
        let watched = sys::watch(buffer.as_fd().try_clone_to_owned()?)?;
        Ok(Self { buffer, watched })
    }

    /// Waits for records and takes everything that is there. Cancel safe.
    pub(super) async fn next(&mut self) -> io::Result<Vec<Event>> {
        let mut ready = self.watched.readable().await?;
        // Cleared before the look: what comes after it wakes again.
        ready.clear_ready();
        let mut events = Vec::new();
        while events.len() < BATCH {
            let Some(item) = self.buffer.next() else {
                return Ok(events);
            };
            events.extend(decode(&item));
        }
        // There may be more, for which nothing would wake: the descriptor is asked again.
        self.watched = sys::watch(self.buffer.as_fd().try_clone_to_owned()?)?;
        Ok(events)
    }
}

/// `None` for a record of another size: never trusted, never a panic.
fn decode(bytes: &[u8]) -> Option<Event> {
    let (kind, rest) = bytes.split_first_chunk::<4>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let (pad, rest) = rest.split_first_chunk::<2>()?;
    let (netns, rest) = rest.split_first_chunk::<8>()?;
    Some(Event {
        kind: u32::from_ne_bytes(*kind),
        port: u16::from_ne_bytes(*port),
        pad: u16::from_ne_bytes(*pad),
        netns: u64::from_ne_bytes(*netns),
        address: Address(rest.try_into().ok()?),
    })
}

impl Capture {
    pub(super) fn handle_events(&mut self, events: Vec<Event>) {
        let mut changed: HashMap<NetnsCookie, HashSet<u16>> = HashMap::new();
        for event in events {
            if event.kind == EventKind::LISTEN_CHANGED {
                let ports = changed.entry(NetnsCookie(event.netns)).or_default();
                ports.insert(event.port);
            } else {
                self.notify(Notice::Event(event));
            }
        }
        for (cookie, ports) in changed {
            self.listen_changed(cookie, &ports);
        }
    }
}

/// Forwards what the programs trace to the log. Only at level debug: the ring costs a wake-up per connect.
pub(super) fn start_trace(ebpf: &mut Ebpf) {
    let logger = EbpfLogger::init(ebpf).map_err(io::Error::other);
    let watched = logger.and_then(|logger| {
        let descriptor = logger.as_fd().try_clone_to_owned()?;
        Ok((logger, sys::watch(descriptor)?))
    });
    let (mut logger, watched) = match watched {
        Ok(pair) => pair,
        Err(error) => {
            tracing::warn!(%error, "no traces from the eBPF programs");
            return;
        }
    };
    tokio::spawn(async move {
        while let Ok(mut ready) = watched.readable().await {
            ready.clear_ready();
            logger.flush();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_any_length_are_decoded_or_refused() {
        let mut bytes = [0_u8; 64];
        bytes[0] = 3;
        bytes[4..6].copy_from_slice(&80_u16.to_ne_bytes());
        bytes[8..16].copy_from_slice(&7_u64.to_ne_bytes());
        for length in 0..bytes.len() {
            let event = decode(&bytes[..length]);
            assert_eq!(event.is_some(), length == size_of::<Event>());
        }
        let event = decode(&bytes[..32]).unwrap();
        assert_eq!((event.kind, event.port, event.netns), (3, 80, 7));
    }
}
