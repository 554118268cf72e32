//! Room for connections, and for requests: so much for each source: nobody can take all of it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::telemetry::CaCrowding;

/// One for each agent, and as many again that are being replaced.
const ALL: usize = 8192;
/// Of one source. Nodes behind one address, or in one IPv6 network, are one.
const OF_ONE: usize = ALL / 8;

pub(super) struct Places {
    taken: Mutex<Taken>,
    all: usize,
    of_one: usize,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// Given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    source: IpAddr,
}

impl Default for Places {
    fn default() -> Self {
        Self::new(ALL, OF_ONE)
    }
}

impl Places {
    pub(super) fn new(all: usize, of_one: usize) -> Self {
        Self {
            taken: Mutex::default(),
            all,
            of_one,
        }
    }

    /// # Errors
    /// When there is no room, or none for this source.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, CaCrowding> {
        let source = source(address);
        let mut taken = self.taken();
        if taken.all >= self.all {
            return Err(CaCrowding::All);
        }
        let of_one = taken.by_source.entry(source).or_default();
        if *of_one >= self.of_one {
            return Err(CaCrowding::Source);
        }
        *of_one += 1;
        taken.all += 1;
        Ok(Place {
            places: Arc::clone(self),
            source,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(of_one) = taken.by_source.get_mut(&self.source) {
            *of_one -= 1;
            if *of_one == 0 {
                taken.by_source.remove(&self.source);
            }
        }
    }
}

/// Whoever has an IPv6 address usually has all of its network's (RFC 4291, section 2.5.4).
pub(super) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Arc<Places>, address: &str) -> Result<Place, CaCrowding> {
        places.take(address.parse().unwrap())
    }

    #[test]
    fn one_source_leaves_room_for_others() {
        let places = Arc::new(Places::new(3, 2));
        let first = take(&places, "10.0.0.1").unwrap();
        let _second = take(&places, "::ffff:10.0.0.1").unwrap();
        let crowded = take(&places, "10.0.0.1").err();
        assert_eq!(crowded, Some(CaCrowding::Source));
        let _other = take(&places, "fd00::1").unwrap();
        assert_eq!(take(&places, "10.0.0.2").err(), Some(CaCrowding::All));
        drop(first);
        assert_eq!(take(&places, "10.0.0.1").err(), None);
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_nothing_is_kept_of_those_who_left() {
        let places = Arc::new(Places::new(9, 1));
        let first = take(&places, "fd00::1").unwrap();
        let crowded = take(&places, "fd00::ffff:2").err();
        assert_eq!(crowded, Some(CaCrowding::Source));
        assert!(take(&places, "fd00:0:0:1::1").is_ok());
        drop(first);
        assert!(places.taken().by_source.is_empty());
        assert_eq!(places.taken().all, 0);
    }
}
