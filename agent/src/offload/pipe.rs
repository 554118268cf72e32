//! Pipes through which the kernel moves bytes from one socket to another (splice(2)), and a pool of them: a
//! connection has one only while bytes are on their way.
//!
//! A pipe is filled only when it is empty and is always large: before Linux 6.12.112 and 6.1.189, splicing from
//! a kernel TLS socket into a partly filled or small pipe lost and corrupted bytes silently.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};

/// Bytes of a pipe, in pages of which each may hold as little as one segment.
const CAPACITY: usize = 256 * 1024;
/// Empty pipes that a thread keeps for the next connection.
const KEPT: usize = 32;

/// Pipes that exist, and how many may: see [`limit_pipes`].
static OPEN: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(1024);

thread_local! {
    static SPARE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// Most pipes that there are, whatever the descriptors: one that its reader leaves full holds many pages.
const MOST: usize = 16 * 1024;

/// Lets pipes take a quarter of the process's descriptors: connections that find none copy through a buffer,
/// and accepting never fails because of pipes.
pub fn limit_pipes(descriptors: usize) {
    LIMIT.store((descriptors / 8).min(MOST), Relaxed);
}

/// A pipe and how much is in it.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    filled: usize,
}

impl Pipe {
    /// An empty pipe: one that was used before, or a new one. `None` when there can be no more.
    #[must_use]
    pub fn take() -> Option<Self> {
        if let Some(pipe) = SPARE.with_borrow_mut(Vec::pop) {
            return Some(pipe);
        }
        if OPEN.fetch_add(1, Relaxed) < LIMIT.load(Relaxed)
            && let Ok(pipe) = Self::new()
        {
            return Some(pipe);
        }
        OPEN.fetch_sub(1, Relaxed);
        None
    }

    fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        if let Err(error) = fcntl_setpipe_size(&write, CAPACITY) {
            if error == Errno::PERM {
                // /proc/sys/fs/pipe-user-pages-soft: there will not be more than there are.
                LIMIT.fetch_min(OPEN.load(Relaxed).saturating_sub(1), Relaxed);
            }
            return Err(error.into());
        }
        Ok(Self {
            read,
            write,
            filled: 0,
        })
    }

    /// Gives an empty pipe to whoever needs one next.
    pub fn give_back(self) {
        debug_assert_eq!(self.filled, 0);
        // The thread may be ending, or have enough: then the pipe is closed.
        let mut pipe = Some(self);
        let _ = SPARE.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut()
                && spare.len() < KEPT
            {
                spare.extend(pipe.take());
            }
        });
    }

    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Moves what a socket has into the pipe, which must be empty. Zero is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when the socket has nothing; `EINVAL` when a kernel TLS socket has a control record.
    pub fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        debug_assert_eq!(self.filled, 0);
        self.filled = splice(from, None, &self.write, None, CAPACITY, FLAGS)?;
        Ok(self.filled)
    }

    /// Moves as much as a socket takes. Returns how much that was.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing.
    pub fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let moved = splice(&self.read, None, to, None, self.filled, FLAGS)?;
        self.filled -= moved;
        Ok(moved)
    }
}

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

impl Drop for Pipe {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}
