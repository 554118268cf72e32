//! All objects of all resources under one resource version, and what happened to them lately. Knows no rules of
//! resources and no clients.

mod object;
mod table;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use serde_json::Value;
use tokio::sync::watch;

pub use object::{Stored, key};
pub use table::{Event, Table};

use crate::status::Status;

/// What the store holds at one moment.
#[derive(Debug, Default)]
pub struct State {
    /// The version of the latest change to anything.
    pub version: u64,
    /// Grows when versions begin anew.
    pub epoch: u64,
    tables: BTreeMap<String, Table>,
}

impl State {
    /// The table of a resource; an empty one when nothing was ever stored there.
    pub fn table(&self, id: &str) -> Option<&Table> {
        self.tables.get(id)
    }

    pub fn get(&self, id: &str, key: &str) -> Option<&Arc<Stored>> {
        self.tables.get(id)?.objects.get(key)
    }

    /// Every resource that has a table.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }
}

/// The store.
#[derive(Debug)]
pub struct Store {
    state: RwLock<State>,
    changed: watch::Sender<(u64, u64)>,
    history: usize,
}

/// What a change makes of an object.
pub enum Change {
    Put(Value),
    Delete,
    /// As it was, without a new version.
    Keep,
}

impl Store {
    /// Keeps so many events of each resource.
    #[must_use]
    pub fn new(history: usize) -> Self {
        let state = State {
            version: 1,
            ..State::default()
        };
        Self {
            state: RwLock::new(state),
            changed: watch::Sender::new((0, 1)),
            history,
        }
    }

    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of every change: epoch and version.
    pub fn changes(&self) -> watch::Receiver<(u64, u64)> {
        self.changed.subscribe()
    }

    /// Changes one object. `decide` sees the state, with the object as it is now.
    ///
    /// # Errors
    /// What `decide` says.
    pub fn change(
        &self,
        id: &str,
        key: &str,
        decide: impl FnOnce(&State, Option<&Arc<Stored>>) -> Result<Change, Status>,
    ) -> Result<Option<Arc<Stored>>, Status> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let current = state.get(id, key).cloned();
        let change = decide(state, current.as_ref())?;
        let version = state.version + 1;
        let put = match change {
            Change::Keep => return Ok(current),
            Change::Put(value) => Some(Arc::new(Stored::new(value, version)?)),
            Change::Delete => None,
        };
        if put.is_none() && current.is_none() {
            return Ok(None);
        }
        state.version = version;
        let table = state.tables.entry(id.to_owned()).or_default();
        let left = match &put {
            Some(object) => Some(Arc::clone(object)),
            None => current
                .as_ref()
                .map(|gone| gone.at(version))
                .transpose()?
                .map(Arc::new),
        };
        table.record(key, version, current, put, self.history);
        self.changed.send_replace((state.epoch, version));
        Ok(left)
    }

    /// Drops all history: nothing older than now can be asked for.
    pub fn forget(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let version = state.version;
        for table in state.tables.values_mut() {
            table.forget(version);
        }
    }

    /// Drops a resource with all its objects, without events.
    pub fn drop_table(&self, id: &str) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.tables.remove(id);
    }

    /// Numbers all objects anew from `first`, as after a restore of an old backup.
    ///
    /// # Errors
    /// When what is stored is not JSON.
    pub fn renumber(&self, first: u64) -> Result<(), Status> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let mut version = first;
        for table in state.tables.values_mut() {
            for object in table.objects.values_mut() {
                version += 1;
                *object = Arc::new(object.at(version)?);
            }
        }
        for table in state.tables.values_mut() {
            table.forget(version);
        }
        state.version = version;
        state.epoch += 1;
        self.changed.send_replace((state.epoch, version));
        Ok(())
    }
}
