//! Values that many objects have are in memory once.

use std::{collections::HashSet, hash::Hash, sync::Arc};

/// How many there are before it is looked which are still needed.
const FIRST_LOOK: usize = 1024;

/// Equal values of one kind.
#[derive(Debug)]
pub(super) struct Shared<T: ?Sized> {
    values: HashSet<Arc<T>>,
    next_look: usize,
}

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self {
            values: HashSet::new(),
            next_look: FIRST_LOOK,
        }
    }
}

impl<T: ?Sized + Eq + Hash> Shared<T> {
    /// Replaces a value by the one that is known already, if it is equal.
    pub(super) fn share(&mut self, value: &mut Arc<T>) {
        if let Some(known) = self.values.get(value) {
            *value = Arc::clone(known);
            return;
        }
        if self.values.len() >= self.next_look {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.next_look = FIRST_LOOK.max(2 * self.values.len());
        }
        self.values.insert(Arc::clone(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_those_that_nobody_has_are_forgotten() {
        let mut shared = Shared::<str>::default();
        let (mut a, mut b): (Arc<str>, Arc<str>) = ("x".into(), "x".into());
        shared.share(&mut a);
        shared.share(&mut b);
        assert!(Arc::ptr_eq(&a, &b));
        for number in 0..10 * FIRST_LOOK {
            shared.share(&mut number.to_string().into());
        }
        assert!(shared.values.len() <= FIRST_LOOK + 1);
        let mut c: Arc<str> = "x".into();
        shared.share(&mut c);
        assert!(Arc::ptr_eq(&a, &c));
    }
}
