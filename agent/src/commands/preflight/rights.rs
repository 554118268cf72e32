//! What this process may do.

use rustix::{
    process::{Resource, getrlimit},
    thread::{CapabilitySet, capabilities},
};

use super::{Check, Subject};

const MANIFEST: &str = "run as root; in a container, add it to securityContext.capabilities as deploy/base/agent.yaml does";
/// Two for each connection: 8,000 connections.
const DESCRIPTORS: u64 = 16_384;

/// Each capability that an agent uses.
const CAPABILITIES: [(&str, CapabilitySet, Subject); 4] = [
    (
        "CAP_SYS_ADMIN",
        CapabilitySet::SYS_ADMIN,
        Subject {
            needed: true,
            purpose: "to enter the pods' network namespaces (setns(2)), and to load programs: it includes CAP_BPF",
            without: "nothing is captured",
            remedy: MANIFEST,
        },
    ),
    (
        "CAP_SYS_PTRACE",
        CapabilitySet::SYS_PTRACE,
        Subject {
            needed: true,
            purpose: "to open /proc/PID/ns/net of others' processes (ptrace(2), PTRACE_MODE_READ_FSCREDS)",
            without: "pods can be enrolled by files such as /run/netns/NAME only",
            remedy: MANIFEST,
        },
    ),
    (
        "CAP_NET_ADMIN",
        CapabilitySet::NET_ADMIN,
        Subject {
            needed: false,
            purpose: "to end connections that policy forbids (sock_diag(7)), and to have the kernel load its module for TLS",
            without: "connections that never came through the agent go on; kernel TLS only where the module is loaded",
            remedy: MANIFEST,
        },
    ),
    (
        "CAP_NET_RAW",
        CapabilitySet::NET_RAW,
        Subject {
            needed: false,
            purpose: "to record the packets of a pod (packet(7))",
            without: "no `sealane capture`",
            remedy: MANIFEST,
        },
    ),
];

pub(super) fn checks() -> Vec<Check> {
    let mut checks = held();
    checks.push(descriptors());
    checks
}

fn held() -> Vec<Check> {
    let effective = capabilities(None).map(|sets| sets.effective);
    let check = |&(name, capability, subject): &(&'static str, CapabilitySet, Subject)| {
        let outcome = match effective {
            Ok(held) if held.contains(capability) => Ok("in the effective set".to_owned()),
            Ok(_) => Err("not in the effective set".to_owned()),
            Err(errno) => Err(errno.to_string()),
        };
        subject.check(name, outcome)
    };
    CAPABILITIES.iter().map(check).collect()
}

fn descriptors() -> Check {
    let subject = Subject {
        needed: false,
        purpose: "two for each connection, up to four with splice",
        without: "what comes when all are taken is refused",
        remedy: "raise the hard limit of open files (LimitNOFILE= of the container runtime's unit)",
    };
    let maximum = getrlimit(Resource::Nofile).maximum;
    let outcome = match maximum {
        Some(limit) if limit < DESCRIPTORS => Err(format!("{limit}")),
        Some(limit) => Ok(format!("{limit}")),
        None => Ok("as many as there are".to_owned()),
    };
    subject.check("open files", outcome)
}
