//! Which connections of this node are the kubelet's: those whose socket was made in its cgroup.
//!
//! An address proves nothing, for every process of the node has it. But the kernel keeps with each socket the cgroup of the
//! process that made it (`INET_DIAG_CGROUP_ID`), and finds the socket of a connection by its two ends. So what is proven is
//! that the kubelet, or a process that it started itself, made this very connection; pods' processes are in cgroups of their
//! own, also on the node's network. Root may join any cgroup, and is not kept from it.

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use netlink_packet_sock_diag::inet::StateFlags;

use super::{
    cgroup,
    netns::{Home, NODE, Netns, NetnsError},
    sock_diag::{self, SockDiag},
};

/// Where the kubelet serves its API (`--port` of kubelet, <https://kubernetes.io/docs/reference/networking/ports-and-protocols/>).
const PORT: u16 = 10250;
const ROOT: u32 = 0;
/// At most so often it is looked where the kubelet is.
const PAUSE: Duration = Duration::from_secs(1);

/// Knows the kubelet of this node.
#[derive(Debug)]
pub struct Kubelet {
    /// Its cgroup, if the operator has named it.
    given: Option<PathBuf>,
    /// The agent's own, and the node's where that is another.
    networks: Vec<Netns>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    cgroup: Result<Cgroup, Absent>,
    looked: Option<Instant>,
    /// One for each network, as far as they have been needed.
    sockets: Vec<Option<SockDiag>>,
}

#[derive(Clone, Debug)]
struct Cgroup {
    /// No two cgroups have had the same one since the node was booted.
    number: u64,
    path: PathBuf,
}

/// Why nobody is taken for the kubelet.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Absent {
    #[error(
        "no process of root listens on TCP port {PORT} of the node: --kubelet-cgroup says where it is"
    )]
    NoListener,
    #[error("processes in several cgroups listen on TCP port {PORT}: --kubelet-cgroup says which")]
    Several,
    #[error("it is in cgroup {0}, which is a pod's, that of the whole node, or out of sight")]
    Unfit(u64),
    #[error("no cgroup v2 hierarchy is mounted")]
    NoHierarchy,
    #[error("--kubelet-cgroup {}: {source}", path.display())]
    Given {
        path: PathBuf,
        source: Arc<io::Error>,
    },
    #[error("it can't be looked for: {0}")]
    Failed(Arc<io::Error>),
}

/// Why a connection is not the kubelet's.
#[derive(Debug, thiserror::Error)]
pub enum Stranger {
    #[error("it comes from no open socket of this node")]
    NoSocket,
    #[error("it was made in cgroup {made_in}, and the kubelet is in {kubelet}")]
    Other { made_in: u64, kubelet: u64 },
    #[error("the kubelet is not known: {0}")]
    Unknown(Absent),
    #[error("its socket can't be looked up: {0}")]
    Failed(#[from] io::Error),
}

impl Kubelet {
    /// `given`: its cgroup. Else it is who listens where the kubelet does.
    ///
    /// # Errors
    /// When the agent's own network namespace can't be opened.
    pub fn new(given: Option<PathBuf>) -> Result<Self, NetnsError> {
        let home = Home::open()?;
        let own = home.netns(Path::new("/proc/thread-self/ns/net"))?;
        // Not to be had without the right to look at processes of others, where nobody is the kubelet then.
        let node = home.netns(Path::new(NODE)).ok();
        let node = node.filter(|node| node.cookie() != own.cookie());
        let networks: Vec<_> = std::iter::once(own).chain(node).collect();
        let known = Mutex::new(Known {
            cgroup: Err(Absent::NoListener),
            looked: None,
            sockets: networks.iter().map(|_| None).collect(),
        });
        Ok(Self {
            given,
            networks,
            known,
        })
    }

    /// Whether the kubelet has made the connection that was accepted at `server` and comes from `client`. Asks the kernel,
    /// and waits for it: a lookup of one socket, and once a second at most where the kubelet is.
    ///
    /// # Errors
    /// When it isn't, or that can't be told.
    pub fn made(&self, client: SocketAddr, server: SocketAddr) -> Result<(), Stranger> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let made_in = known
            .maker(&self.networks, client, server)?
            .ok_or(Stranger::NoSocket)?;
        if known.cgroup.as_ref().is_ok_and(|c| c.number == made_in) {
            return Ok(());
        }
        known.look(self);
        match &known.cgroup {
            Ok(kubelet) if kubelet.number == made_in => Ok(()),
            Ok(Cgroup { number, .. }) => Err(Stranger::Other {
                made_in,
                kubelet: *number,
            }),
            Err(absent) => Err(Stranger::Unknown(absent.clone())),
        }
    }

    /// Its cgroup, as this process sees it.
    ///
    /// # Errors
    /// When nobody is taken for it.
    pub fn cgroup(&self) -> Result<PathBuf, Absent> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.look(self);
        known.cgroup.clone().map(|cgroup| cgroup.path)
    }
}

impl Known {
    /// The cgroup of the socket at the client's end.
    fn maker(
        &mut self,
        networks: &[Netns],
        client: SocketAddr,
        server: SocketAddr,
    ) -> io::Result<Option<u64>> {
        for (netns, kept) in networks.iter().zip(&mut self.sockets) {
            // After an error it may hold answers to what was asked before: another one is opened.
            let diag = match kept.take() {
                Some(diag) => diag,
                None => SockDiag::open(netns)?,
            };
            let found = diag.established(client, server)?;
            *kept = Some(diag);
            if let Some(made_in) = found.as_ref().and_then(sock_diag::cgroup) {
                return Ok(Some(made_in));
            }
        }
        Ok(None)
    }

    fn look(&mut self, kubelet: &Kubelet) {
        let again = self.looked.is_none_or(|at| at.elapsed() >= PAUSE);
        if !again {
            return;
        }
        self.looked = Some(Instant::now());
        let before = self.cgroup.as_ref().map(|c| c.number).ok();
        self.cgroup = find(kubelet);
        if let Ok(cgroup) = &self.cgroup
            && before != Some(cgroup.number)
        {
            tracing::info!(%cgroup, "the kubelet is known: its probes pass where pods declare them");
        }
    }
}

fn find(kubelet: &Kubelet) -> Result<Cgroup, Absent> {
    let failed = |error| Absent::Failed(Arc::new(error));
    let candidates = match &kubelet.given {
        Some(path) => BTreeSet::from([number_of(path)?]),
        None => listeners(&kubelet.networks).map_err(failed)?,
    };
    let first = *candidates.first().ok_or(Absent::NoListener)?;
    let top = cgroup::hierarchy().map_err(failed)?;
    let top = top.ok_or(Absent::NoHierarchy)?;
    let fit = |number| {
        let path = cgroup::outside_pods(&top, number)?;
        Some(Cgroup { number, path })
    };
    let mut fit = candidates.into_iter().filter_map(fit);
    match (fit.next(), fit.next()) {
        (Some(cgroup), None) => Ok(cgroup),
        (None, _) => Err(Absent::Unfit(first)),
        (Some(_), Some(_)) => Err(Absent::Several),
    }
}

fn number_of(path: &Path) -> Result<u64, Absent> {
    let metadata = fs::metadata(path).map_err(|source| Absent::Given {
        path: path.to_owned(),
        source: Arc::new(source),
    });
    Ok(metadata?.ino())
}

/// The cgroups in which sockets were made that listen there, in the first network that has any. Anybody may bind the port
/// while the kubelet is away: only those of root count.
fn listeners(networks: &[Netns]) -> io::Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    for netns in networks {
        SockDiag::open(netns)?.dump(&StateFlags::LISTEN, |response| {
            let header = &response.header;
            if header.socket_id.source_port == PORT && header.uid == ROOT {
                found.extend(sock_diag::cgroup(response));
            }
        })?;
        if !found.is_empty() {
            break;
        }
    }
    Ok(found)
}

impl fmt::Display for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}
