//! A file whose last good content counts.

use std::{fmt::Display, path::PathBuf, sync::Arc};

use crate::file::{self, Stamp};

/// Size of one file: a list that revokes half a million certificates.
const LIMIT: u64 = 32 << 20;

/// What a file says, and what is wrong with it now.
#[derive(Debug)]
pub(super) struct Followed<T> {
    pub(super) path: PathBuf,
    stamp: Option<Stamp>,
    pub(super) value: Option<Arc<T>>,
    pub(super) error: Option<String>,
}

impl<T> Followed<T> {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            stamp: None,
            value: None,
            error: None,
        }
    }

    /// Reads the file if it isn't what it was. Tells whether there is a new value.
    pub(super) fn look<E: Display>(&mut self, parse: impl FnOnce(&[u8]) -> Result<T, E>) -> bool {
        let stamp = match Stamp::of(&self.path) {
            Ok(stamp) if self.stamp == Some(stamp) => return false,
            Ok(stamp) => stamp,
            Err(error) => {
                self.stamp = None;
                self.failed(error.to_string());
                return false;
            }
        };
        let read = file::read(&self.path, LIMIT).map_err(|error| error.to_string());
        self.stamp = read.is_ok().then_some(stamp);
        match read.and_then(|text| parse(&text).map_err(|error| error.to_string())) {
            Ok(value) => {
                self.value = Some(Arc::new(value));
                self.error = None;
                true
            }
            Err(error) => {
                self.failed(error);
                false
            }
        }
    }

    /// Has what can't be used read again: it may be of use beside what is new elsewhere.
    pub(super) fn again(&mut self) {
        if self.error.is_some() {
            self.stamp = None;
        }
    }

    fn failed(&mut self, error: String) {
        if self.error.as_ref() != Some(&error) {
            let path = self.path.display();
            tracing::error!(%path, error, "the last good content stays in force");
        }
        self.error = Some(error);
    }
}
