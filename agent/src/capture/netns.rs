//! Network namespaces of pods: open them, work inside them, tell them apart.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Socket, Type};

use crate::offload::sys;

/// The node's own network, whatever this process's is.
pub(super) const NODE: &str = "/proc/1/ns/net";

/// Identifies a network namespace for as long as the machine runs (`bpf_get_netns_cookie`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsCookie(pub u64);

/// Why a network namespace can't be used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    #[error("network namespace {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("{path} is not a network namespace")]
    NotNetns { path: PathBuf },
    #[error("enter network namespace {path}: {source}")]
    Enter { path: PathBuf, source: io::Error },
    #[error("cookie of network namespace {path}: {source}")]
    Cookie { path: PathBuf, source: io::Error },
}

/// The agent's own network namespace, where every thread is when it is not working for a pod.
#[derive(Clone, Debug)]
pub struct Home(Arc<OwnedFd>);

/// An open network namespace.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
    cookie: NetnsCookie,
    home: Home,
}

impl Home {
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn open() -> Result<Self, NetnsError> {
        let path = Path::new("/proc/thread-self/ns/net");
        let file = File::open(path).map_err(|source| NetnsError::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self(Arc::new(file.into())))
    }

    /// Opens a pod's namespace from a file such as `/run/netns/NAME` or `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// When the file is not there or is not a network namespace.
    pub fn netns(&self, path: &Path) -> Result<Netns, NetnsError> {
        let file = File::open(path).map_err(|source| NetnsError::Open {
            path: path.to_owned(),
            source,
        })?;
        let mut netns = Netns {
            file,
            path: path.to_owned(),
            cookie: NetnsCookie(0),
            home: self.clone(),
        };
        let probe = netns
            .enter(|| {
                Socket::new(Domain::UNIX, Type::DGRAM, None)
                    .and_then(|socket| sys::netns_cookie(&socket))
            })?
            .map_err(|source| NetnsError::Cookie {
                path: path.to_owned(),
                source,
            })?;
        netns.cookie = NetnsCookie(probe);
        Ok(netns)
    }
}

impl Netns {
    #[must_use]
    pub fn cookie(&self) -> NetnsCookie {
        self.cookie
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on this thread inside the namespace. `work` must not be async: the thread belongs to the
    /// namespace until it returns.
    ///
    /// # Errors
    /// When the namespace can't be entered. If the way back fails, the process ends: a thread in the wrong
    /// namespace would dial and listen for the wrong pod.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> Result<T, NetnsError> {
        /// Returns even when `work` panics.
        struct Return<'a>(&'a Home);
        impl Drop for Return<'_> {
            fn drop(&mut self) {
                if let Err(error) = setns(self.0.0.as_fd()) {
                    tracing::error!(%error, "can't return to the agent's network namespace");
                    std::process::abort();
                }
            }
        }
        setns(self.file.as_fd()).map_err(|errno| {
            let source = io::Error::from(errno);
            let path = self.path.clone();
            if errno == rustix::io::Errno::INVAL {
                NetnsError::NotNetns { path }
            } else {
                NetnsError::Enter { path, source }
            }
        })?;
        let _return = Return(&self.home);
        Ok(work())
    }

    /// Whether the file still leads to this namespace.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let (Ok(now), Ok(then)) = (std::fs::metadata(&self.path), self.file.metadata()) else {
            return false;
        };
        (now.dev(), now.ino()) == (then.dev(), then.ino())
    }

    /// Whether this is no pod's namespace: the agent's own, or the node's.
    #[must_use]
    pub fn is_home(&self) -> bool {
        let own = rustix::fs::fstat(self.file.as_fd());
        let home = rustix::fs::fstat(self.home.0.as_fd());
        let node = rustix::fs::stat(NODE);
        [home, node].iter().any(|other| {
            matches!((other, &own), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn setns(fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    move_into_link_name_space(fd, Some(LinkNameSpaceType::Network))
}
