//! Destinations that are captured, as a list in order: of a large cluster there are a hundred thousand, and capture,
//! its map in the kernel and what is desired share one.

use std::collections::{HashMap, HashSet};

use sealane_common::{Address, Destination, OnLoss};

/// By address; each is there once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations(Vec<Entry>);

/// As small as can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    address: Address,
    /// What isn't is refused ([`OnLoss`]).
    direct: bool,
}

impl From<(Address, Destination)> for Entry {
    fn from((address, destination): (Address, Destination)) -> Self {
        Self {
            address,
            direct: destination.on_loss == OnLoss::DIRECT,
        }
    }
}

impl Entry {
    fn destination(self) -> Destination {
        let on_loss = if self.direct {
            OnLoss::DIRECT
        } else {
            OnLoss::REFUSE
        };
        Destination { on_loss, pad: 0 }
    }
}

/// What makes one list of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Put {
        address: Address,
        destination: Destination,
        before: Option<Destination>,
    },
    Remove {
        address: Address,
        before: Destination,
    },
}

impl FromIterator<(Address, Destination)> for Destinations {
    fn from_iter<T: IntoIterator<Item = (Address, Destination)>>(all: T) -> Self {
        let mut list = Self::default();
        list.extend(all);
        list
    }
}

impl Extend<(Address, Destination)> for Destinations {
    /// Of several with one address the strictest counts.
    fn extend<T: IntoIterator<Item = (Address, Destination)>>(&mut self, more: T) {
        let list = &mut self.0;
        list.extend(more.into_iter().map(Entry::from));
        list.sort_unstable_by_key(|entry| (entry.address, entry.direct));
        list.dedup_by_key(|entry| entry.address);
    }
}

impl Destinations {
    /// With room for so many.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    #[must_use]
    pub fn contains(&self, address: Address) -> bool {
        self.at(address).is_some()
    }

    /// From this to `wanted`.
    pub(super) fn changes<'a>(&'a self, wanted: &'a Self) -> impl Iterator<Item = Change> + 'a {
        let (mut old, mut new) = (self.0.iter().peekable(), wanted.0.iter().peekable());
        std::iter::from_fn(move || {
            loop {
                let (stands, wants) = (old.peek().copied(), new.peek().copied());
                let is_removed = match (stands, wants) {
                    (None, None) => return None,
                    (Some(stands), Some(wants)) => stands.address < wants.address,
                    (stands, _) => stands.is_some(),
                };
                if is_removed {
                    let before = *old.next()?;
                    return Some(Change::Remove {
                        address: before.address,
                        before: before.destination(),
                    });
                }
                let entry = *new.next()?;
                let before = old.next_if(|stands| stands.address == entry.address);
                if before != Some(&entry) {
                    return Some(Change::Put {
                        address: entry.address,
                        destination: entry.destination(),
                        before: before.map(|before| before.destination()),
                    });
                }
            }
        })
    }

    /// This, but for addresses of which something else is so: another destination, or none.
    pub(super) fn but(&self, exceptions: &HashMap<Address, Option<Destination>>) -> Self {
        let usual = self.0.iter();
        let usual = usual.filter(|entry| !exceptions.contains_key(&entry.address));
        let usual = usual.map(|entry| (entry.address, entry.destination()));
        let others = exceptions.iter().filter_map(|(a, d)| Some((*a, (*d)?)));
        usual.chain(others).collect()
    }

    /// Whether one of them is not reached in clear.
    #[must_use]
    pub fn refuses_any(&self) -> bool {
        self.0.iter().any(|entry| !entry.direct)
    }

    #[must_use]
    pub fn refuses(&self, address: Address) -> bool {
        self.at(address).is_some_and(|entry| !entry.direct)
    }

    fn at(&self, address: Address) -> Option<&Entry> {
        let at = self.0.binary_search_by_key(&address, |entry| entry.address);
        self.0.get(at.ok()?)
    }

    pub(super) fn refused(&self) -> HashSet<Address> {
        let refused = self.0.iter().filter(|entry| !entry.direct);
        refused.map(|entry| entry.address).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(number: u8) -> Address {
        IpAddr::from([10, 0, 0, number]).into()
    }

    fn to(on_loss: u32) -> Destination {
        Destination { on_loss, pad: 0 }
    }

    fn list(all: &[(u8, u32)]) -> Destinations {
        let all = all.iter();
        all.map(|(a, on_loss)| (address(*a), to(*on_loss)))
            .collect()
    }

    #[test]
    fn of_two_the_strictest_counts() {
        let (direct, refuse) = (OnLoss::DIRECT, OnLoss::REFUSE);
        let found = list(&[(2, refuse), (1, direct), (2, direct), (1, direct)]);
        assert_eq!(found, list(&[(1, direct), (2, refuse)]));
        assert!(found.contains(address(2)) && !found.contains(address(3)));
        assert_eq!(found.refused(), HashSet::from([address(2)]));
        assert!(found.refuses_any() && found.refuses(address(2)));
        assert!(!(found.refuses(address(1)) || found.refuses(address(3))));
    }

    #[test]
    fn changes_make_one_of_the_other() {
        let (direct, refuse) = (OnLoss::DIRECT, OnLoss::REFUSE);
        let old = list(&[(1, direct), (2, direct), (4, direct)]);
        let new = list(&[(2, refuse), (3, direct), (4, direct), (5, direct)]);
        let list = |of: &Destinations| -> HashMap<_, _> {
            let entries = of.0.iter();
            entries.map(|e| (e.address, e.destination())).collect()
        };
        let mut made = list(&old);
        let mut count = 0;
        for change in old.changes(&new) {
            count += 1;
            match change {
                Change::Put {
                    address,
                    destination,
                    before,
                } => assert_eq!(made.insert(address, destination), before),
                Change::Remove { address, before } => {
                    assert_eq!(made.remove(&address), Some(before));
                }
            }
        }
        assert_eq!(count, 4);
        assert_eq!(made.into_iter().collect::<Destinations>(), new);
        assert_eq!(new.changes(&new).next(), None);
    }

    #[test]
    fn what_could_not_be_changed_stands_as_it_did() {
        let (direct, refuse) = (OnLoss::DIRECT, OnLoss::REFUSE);
        let wanted = list(&[(1, refuse), (2, direct), (3, direct)]);
        let exceptions = [(1, Some(to(direct))), (2, None), (9, Some(to(refuse)))];
        let exceptions = exceptions.map(|(a, d)| (address(a), d)).into();
        let standing = wanted.but(&exceptions);
        assert_eq!(standing, list(&[(1, direct), (3, direct), (9, refuse)]));
    }
}
