//! Brings the pods' connections to the agent: the only user of aya.
//!
//! [`Capture`] loads, attaches and pins the programs, enrols pods and lets them go, renews the lease and
//! keeps the shared maps as [`Desired`] says. [`Flows`] answers for one connection where it wanted to go and
//! tells the kernel whose it is. Does not know policy: `app` computes [`Desired`].

mod attest;
mod attestor;
mod bpffs;
mod cgroup;
mod desired;
mod destinations;
mod enrol;
mod error;
mod flows;
mod kubelet;
mod listening;
mod maps;
mod netns;
mod object;
mod probe;
mod programs;
mod run;
mod sock_diag;
mod unseen;
mod wire;

pub use attest::{Attestation, Method};
pub use attestor::Attestations;
pub use bpffs::Ground;
pub use cgroup::hierarchy as cgroup_hierarchy;
pub use desired::{Desired, DesiredPod};
pub use destinations::Destinations;
pub use enrol::{Listeners, Pod, as_proxy};
pub use error::{CaptureError, EnrolError};
pub use flows::{Flows, OriginalDst};
pub use kubelet::{Absent, Kubelet, Stranger};
pub use netns::{Home, Netns, NetnsCookie, NetnsError};
pub use probe::{Tried, What, probe};
pub use programs::{CaptureConfig, PROGRAMS, cleanup};
pub use run::{Capture, CaptureStatus, Handles, Notice, PodState, cgroup_of_pods};
pub use unseen::{Unseen, UnseenSockets};
pub use wire::{Wire, WireConnection};

/// `CLOCK_BOOTTIME` in nanoseconds, as `bpf_ktime_get_boot_ns` reads it.
fn boottime() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + nanoseconds
}
