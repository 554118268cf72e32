//! Buffers of the byte path: kept per thread, so that taking one neither allocates nor locks.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
};

use crate::tls::record::{HEADER, MAX_RECORD};

/// Room for eight records of the largest kind: what a stream costs falls by a twentieth from four to eight, and by
/// a thirtieth from eight to sixteen; a connection whose reader is slow holds as much.
pub(super) const SIZE: usize = 8 * (HEADER + MAX_RECORD);
/// More than this are freed: what a burst needed is not held for ever.
const KEPT: usize = 8;

thread_local! {
    static SPARE: RefCell<Vec<Memory>> = const { RefCell::new(Vec::new()) };
}

/// One word: every idle connection has room for two.
type Memory = Box<[u8; SIZE]>;

/// A buffer of [`SIZE`] bytes, given back when dropped. Its content is whatever it was.
pub(super) struct Buffer(Option<Memory>);

impl Buffer {
    pub(super) fn take() -> Self {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        Self(spare.or_else(|| vec![0; SIZE].into_boxed_slice().try_into().ok()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(buffer) = self.0.take() else {
            return;
        };
        // The thread may be ending: then the buffer is freed.
        let _ = SPARE.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut()
                && spare.len() < KEPT
            {
                spare.push(buffer);
            }
        });
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |memory| memory)
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().map_or(&mut [], |memory| memory)
    }
}
