//! What of capture this node allows, found out by doing it as the agent does.
//!
//! Programs are loaded with maps of their own, attached for a moment and gone again: their maps are empty, so that they
//! let everything pass. Except the one for inbound connections, which refuses whom it doesn't know: that is attached to
//! a network namespace made for it, with nothing in it. Pins nothing.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use aya::{Ebpf, programs::SkLookup};
use netlink_packet_sock_diag::inet::StateFlags;

use super::{
    error::CaptureError,
    netns::{Home, Netns, NetnsCookie, NetnsError},
    object::Loader,
    programs::{INBOUND, PROGRAMS, attach, attach_cgroup},
    sock_diag::SockDiag,
};
use crate::offload::sys;

/// How many processes are tried, of which one has to let itself be entered: some refuse for reasons of their own.
const PROCESSES: usize = 64;
/// Between two sockets of this process.
const PATIENCE: Duration = Duration::from_secs(2);

/// One thing that capture does, and how that went.
#[derive(Debug)]
pub struct Tried {
    pub what: What,
    pub error: Option<String>,
}

/// What capture does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Maps, the programs' types and their licence.
    Load,
    /// Outbound connections come to the agent.
    Connect,
    /// Applications see the addresses that they expect.
    Names,
    /// The states of sockets.
    States,
    /// Inbound connections come to the agent.
    Inbound,
    /// To work in the network namespaces of other processes.
    Enter,
    /// To list the sockets of a pod.
    List,
    /// To end connections that policy forbids.
    Destroy,
}

/// Tries everything. Blocks for some milliseconds.
#[must_use]
pub fn probe(cgroup_root: &Path) -> Vec<Tried> {
    let mut tried = programs(cgroup_root);
    // A thread of its own: it changes its network namespace and never comes back.
    let inbound = std::thread::spawn(inbound).join();
    let inbound = inbound.unwrap_or_else(|_| Err("the attempt has panicked".to_owned()));
    tried.push(Tried::new(What::Inbound, inbound));
    tried.push(Tried::new(What::Enter, enter()));
    tried.push(Tried::new(What::List, list()));
    tried.push(Tried::new(What::Destroy, destroy()));
    tried
}

impl Tried {
    fn new(what: What, outcome: Result<(), String>) -> Self {
        Self {
            what,
            error: outcome.err(),
        }
    }
}

fn programs(cgroup_root: &Path) -> Vec<Tried> {
    let mut ebpf = match Loader::unpinned().load(NetnsCookie(0)) {
        Ok(ebpf) => ebpf,
        Err(error) => return vec![Tried::new(What::Load, Err(causes(&error)))],
    };
    let mut tried = vec![Tried::new(What::Load, Ok(()))];
    for what in [What::Connect, What::Names, What::States] {
        let outcome = attach_and_detach(&mut ebpf, cgroup_root, what);
        tried.push(Tried::new(what, outcome));
    }
    tried
}

fn attach_and_detach(ebpf: &mut Ebpf, cgroup_root: &Path, what: What) -> Result<(), String> {
    let root = File::open(cgroup_root);
    let root = root.map_err(|error| format!("{}: {error}", cgroup_root.display()))?;
    for name in PROGRAMS.into_iter().filter(|name| of(name) == Some(what)) {
        // Detached when the link is dropped.
        attach_cgroup(ebpf, name, &root).map_err(|error| causes(&error))?;
    }
    Ok(())
}

/// What a program is for.
fn of(name: &str) -> Option<What> {
    match name {
        "connect4" | "connect6" => Some(What::Connect),
        "getpeername4" | "getpeername6" | "getsockname4" | "getsockname6" => Some(What::Names),
        "sock_release" | "tcp_states" => Some(What::States),
        _ => None,
    }
}

fn inbound() -> Result<(), String> {
    sys::new_network_namespace().map_err(|error| format!("a new network namespace: {error}"))?;
    let netns = own_namespace().map_err(|error| error.to_string())?;
    let mut ebpf = Loader::unpinned()
        .load(netns.cookie())
        .map_err(|error| causes(&error))?;
    let link = attach::<SkLookup, _>(&mut ebpf, INBOUND, |program| {
        program.load()?;
        let id = program.attach(&netns)?;
        program.take_link(id)
    });
    link.map(drop).map_err(|error| causes(&error))
}

fn own_namespace() -> Result<Netns, NetnsError> {
    Home::open()?.netns(Path::new("/proc/thread-self/ns/net"))
}

fn enter() -> Result<(), String> {
    let home = Home::open().map_err(|error| error.to_string())?;
    let mut outcome = Err("no other process is to be seen".to_owned());
    for process in others().map_err(|error| format!("/proc: {error}"))? {
        outcome = match home.netns(&process.join("ns/net")) {
            Ok(_) => return Ok(()),
            Err(error) => Err(error.to_string()),
        };
    }
    outcome
}

/// Directories of some processes: those of other users first, for that takes more.
fn others() -> io::Result<Vec<PathBuf>> {
    let own = (
        std::process::id().to_string(),
        rustix::process::geteuid().as_raw(),
    );
    let is_process = |name: &str| name != own.0 && name.bytes().all(|b| b.is_ascii_digit());
    let (mut of_others, mut of_ours) = (Vec::new(), Vec::new());
    for entry in fs::read_dir("/proc")?.flatten() {
        if !entry.file_name().to_str().is_some_and(is_process) {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) if metadata.uid() != own.1 => of_others.push(entry.path()),
            Ok(_) => of_ours.push(entry.path()),
            // It has ended meanwhile.
            Err(_) => {}
        }
    }
    // Some end meanwhile.
    of_others.append(&mut of_ours);
    of_others.truncate(PROCESSES);
    Ok(of_others)
}

fn list() -> Result<(), String> {
    let netns = own_namespace().map_err(|error| error.to_string())?;
    let diag = SockDiag::open(&netns).map_err(|error| error.to_string())?;
    diag.dump(&StateFlags::LISTEN, |_| {})
        .map_err(|error| error.to_string())
}

/// Ends a connection of this process with itself.
fn destroy() -> Result<(), String> {
    let netns = own_namespace().map_err(|error| error.to_string())?;
    destroy_own(&netns).map_err(|error| error.to_string())
}

fn destroy_own(netns: &Netns) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut near = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)?;
    near.set_read_timeout(Some(PATIENCE))?;
    let ports = (near.local_addr()?.port(), listener.local_addr()?.port());
    let diag = SockDiag::open(netns)?;
    let mut found = None;
    diag.dump(&StateFlags::ESTABLISHED, |response| {
        let id = &response.header.socket_id;
        if (id.source_port, id.destination_port) == ports {
            found = Some((response.header.family, id.clone()));
        }
    })?;
    let absent = || io::Error::new(io::ErrorKind::NotFound, "an open connection is not listed");
    let (family, id) = found.ok_or_else(absent)?;
    diag.destroy(family, &id)?;
    match near.read(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
        other => Err(io::Error::other(format!("it goes on: {other:?}"))),
    }
}

/// The error and what led to it: the kernel's word is often the last.
fn causes(error: &CaptureError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let told = next.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_is_tried_as_something() {
        for name in PROGRAMS {
            assert!(of(name).is_some(), "{name}");
        }
    }
}
