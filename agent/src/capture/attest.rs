//! Puts the programs that watch a pod's wire on its interfaces, and takes them off again.
//!
//! tcx where the kernel has it (6.6), whose links are pinned and replaced without a gap; classifiers of a clsact qdisc
//! elsewhere, which belong to the interface: a new agent replaces them in their place. A pod whose wire can't be watched
//! is captured all the same. Whoever may change the interfaces of the pod may take classifiers off, and of clsact's
//! nothing but the pod's end or leaving the mesh removes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    mem::ManuallyDrop,
    net::{Ipv4Addr, UdpSocket},
    time::Instant,
};

use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        links::FdLink,
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
    },
};

use rustix::net::netdevice::name_to_index;
use sealane_common::map::WIRE_PROGRAM;

use super::{
    error::CaptureError,
    maps::{map_error, typed},
    netns::{Netns, NetnsCookie},
    programs::{Pins, attach},
};

/// The program that follows the wire of all pods; their own hand on to it.
const FOLLOWS: &str = "wire";
const PROGRAMS: [(&str, TcAttachType); 2] = [
    ("wire_sent", TcAttachType::Egress),
    ("wire_received", TcAttachType::Ingress),
];
/// Where classifiers stand in the row of an interface's: a place that nobody else is likely to take.
const PRIORITY: u16 = 0x5ea1;
const HANDLE: TcHandle = TcHandle::new(0, 1);
const LOOPBACK: &str = "lo";
/// Characters of a reason that are shown.
const LONGEST: usize = 200;

/// Names and indices: another interface may have taken a name.
pub(super) type Interfaces = BTreeMap<String, u32>;

/// How an interface is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Tcx,
    Clsact,
}

/// Whether a pod's wire is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attestation {
    On {
        interfaces: Interfaces,
        method: Method,
    },
    Off {
        why: String,
    },
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        })
    }
}

/// The verifier's own words may be thousands of lines: what the kernel said is in the first.
pub(super) fn off(why: &impl ToString) -> Attestation {
    let text = why.to_string();
    tracing::debug!(error = text, "attestation");
    let first = text.lines().next().unwrap_or_default();
    Attestation::Off {
        why: first.chars().take(LONGEST).collect(),
    }
}

/// Watches these interfaces.
pub(super) fn watch(pins: &Pins, netns: &Netns, interfaces: Interfaces) -> Attestation {
    if interfaces.is_empty() {
        return off(&"the pod has no interface but loopback");
    }
    match pins.attach_wire(netns, &interfaces) {
        Ok(method) => Attestation::On { interfaces, method },
        Err(error) => off(&error),
    }
}

/// The calling thread's interfaces, loopback excepted.
pub(super) fn interfaces() -> io::Result<Interfaces> {
    // Two lines of headings, then `NAME: numbers` (proc_pid_net(5)).
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    let names = table
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'));
    let any = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    Ok(names
        .map(|(name, _)| name.trim())
        .filter(|name| *name != LOOPBACK)
        // One that has gone meanwhile is none.
        .filter_map(|name| Some((name.to_owned(), name_to_index(&any, name).ok()?)))
        .collect())
}

/// What classifiers are taken off: those of pods that leave, which are there.
pub(super) fn unwatch(netns: &Netns) {
    let _ = netns.enter(|| {
        for interface in interfaces().unwrap_or_default().into_keys() {
            for (name, side) in PROGRAMS {
                // There are none where tcx is used.
                let _ = tc::qdisc_detach_program(&interface, side, name);
            }
        }
    });
}

impl Pins {
    /// Has the wire of all pods followed from here on by this agent's program. The verifier takes its time for it.
    pub(super) fn follow_wire(&self) -> Result<(), CaptureError> {
        let since = Instant::now();
        let mut ebpf = self.load(NetnsCookie(0))?;
        let (program, instructions) =
            attach::<SchedClassifier, _>(&mut ebpf, FOLLOWS, |program| {
                program.load()?;
                let instructions = program.info()?.verified_instruction_count();
                Ok((program.fd()?.try_clone()?, instructions))
            })?;
        tracing::debug!(elapsed = ?since.elapsed(), instructions, "the program that follows the wire");
        let mut place: ProgramArray<_> = typed(&mut ebpf, WIRE_PROGRAM)?;
        place
            .set(0, &program, 0)
            .map_err(|error| map_error(WIRE_PROGRAM, error))
    }

    fn attach_wire(&self, netns: &Netns, interfaces: &Interfaces) -> Result<Method, CaptureError> {
        let mut ebpf = self.load(netns.cookie())?;
        let mut method = Method::Tcx;
        for (name, side) in PROGRAMS {
            attach::<SchedClassifier, _>(&mut ebpf, name, SchedClassifier::load)?;
            for interface in interfaces.keys() {
                let link = netns.enter(|| attach_to(&mut ebpf, name, interface, side))??;
                match link {
                    Some(link) => {
                        self.replace_link(&wire_link(netns.cookie(), interface, name), link)?;
                    }
                    None => method = Method::Clsact,
                }
            }
        }
        // A pin keeps its program also where the interface is gone.
        let links = |interface: &String| {
            PROGRAMS.map(|(name, _)| wire_link(netns.cookie(), interface, name))
        };
        let kept: BTreeSet<_> = interfaces.keys().flat_map(links).collect();
        self.remove_links(&wire_links(netns.cookie()), &kept);
        Ok(method)
    }

    pub(super) fn detach_wire(&self, cookie: NetnsCookie) {
        self.remove_links(&wire_links(cookie), &BTreeSet::new());
    }
}

fn wire_links(cookie: NetnsCookie) -> String {
    format!("wire-{:x}-", cookie.0)
}

/// In hexadecimal: bpffs takes no dots, interfaces may have some.
fn wire_link(cookie: NetnsCookie, interface: &str, program: &str) -> String {
    let interface: String = interface.bytes().map(|b| format!("{b:02x}")).collect();
    format!("{}{interface}-{program}", wire_links(cookie))
}

/// In the calling thread's network namespace. `None`: there is no link to be kept.
fn attach_to(
    ebpf: &mut Ebpf,
    name: &'static str,
    interface: &str,
    side: TcAttachType,
) -> Result<Option<FdLink>, CaptureError> {
    attach::<SchedClassifier, _>(ebpf, name, |program| {
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        match program.attach_with_options(interface, side, order) {
            Ok(id) => Ok(Some(program.take_link(id)?)),
            Err(_) => as_classifier(program, interface, side).map(|()| None),
        }
    })?
    .map(|link| {
        link.try_into().map_err(|source| CaptureError::Link {
            path: name.into(),
            source: Box::new(source),
        })
    })
    .transpose()
}

fn as_classifier(
    program: &mut SchedClassifier,
    interface: &str,
    side: TcAttachType,
) -> Result<(), ProgramError> {
    // There may be one: of an earlier agent, or anybody's. If there is none the next step fails.
    let _ = tc::qdisc_add_clsact(interface);
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: PRIORITY,
        handle: HANDLE,
        ..NlOptions::default()
    });
    let id = match program.attach_with_options(interface, side, options) {
        Ok(id) => id,
        Err(_) => {
            // That of an earlier agent, which is replaced.
            let there = SchedClassifierLink::attached(interface, side, PRIORITY, HANDLE, None);
            program.attach_to_link(there.map_err(tc::TcError::IoError)?)?
        }
    };
    // It is to outlive this process, as pinned links do.
    let _link = ManuallyDrop::new(program.take_link(id)?);
    Ok(())
}
