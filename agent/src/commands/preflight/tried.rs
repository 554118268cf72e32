//! What was found out by doing what an agent does.

use std::path::Path;

use super::{Check, Subject};
use crate::{
    capture::{self, Kubelet, Tried, What},
    offload::{self, Capabilities},
    tls::Suites,
};

/// Capture's own attempts; nothing without a place to attach to.
pub(super) fn capture(cgroup_root: Option<&Path>) -> Vec<Check> {
    let Some(root) = cgroup_root else {
        return Vec::new();
    };
    let tried = capture::probe(root);
    tried.into_iter().map(attempt).collect()
}

fn attempt(tried: Tried) -> Check {
    let (name, subject) = subject(tried.what);
    let outcome = match tried.error {
        None => Ok("tried".to_owned()),
        Some(error) => Err(error),
    };
    subject.check(name, outcome)
}

fn subject(what: What) -> (&'static str, Subject) {
    match what {
        What::Load => ("BPF: programs and maps", LOAD),
        What::Connect => ("BPF: cgroup/connect", CONNECT),
        What::Names => ("BPF: cgroup/getpeername, getsockname", NAMES),
        What::States => ("BPF: sockops, cgroup/sock_release", STATES),
        What::Inbound => ("BPF: sk_lookup", INBOUND),
        What::Enter => ("network namespaces of others", ENTER),
        What::List => ("sock_diag: list", LIST),
        What::Destroy => ("sock_diag: end", DESTROY),
    }
}

const KERNEL: &str = "a kernel from 5.14 on with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF; in a container, the \
                      capabilities above and no AppArmor or seccomp profile that denies bpf(2)";
const SOCK_DIAG: &str =
    "a kernel with CONFIG_INET_DIAG, CONFIG_INET_DIAG_DESTROY (modules inet_diag, tcp_diag)";

const LOAD: Subject = needed("capture and enforcement", "nothing is captured", KERNEL);
const CONNECT: Subject = needed(
    "outbound connections come to the agent",
    "pods call in clear",
    KERNEL,
);
const NAMES: Subject = needed(
    "applications see the addresses that they asked for, and their real clients",
    "applications see the agent's addresses",
    KERNEL,
);
const STATES: Subject = needed(
    "the agent learns where connections were going, and which ports are listened on",
    "captured connections are refused",
    KERNEL,
);
const INBOUND: Subject = needed(
    "inbound connections come to the agent",
    "pods can't be STRICT",
    KERNEL,
);
const ENTER: Subject = needed(
    "listeners and connections of the agent are made inside of the pods' network namespaces",
    "no pod can be enrolled",
    "CAP_SYS_ADMIN and CAP_SYS_PTRACE; no AppArmor profile that denies ptrace (appArmorProfile: Unconfined)",
);
const LIST: Subject = needed(
    "to know the ports on which pods listen already",
    "no pod can be enrolled",
    SOCK_DIAG,
);
const DESTROY: Subject = Subject {
    needed: false,
    purpose: "to cut connections that never came through the agent and that policy forbids",
    without: "those from before a pod was enrolled go on until they end",
    remedy: SOCK_DIAG,
};

const fn needed(purpose: &'static str, without: &'static str, remedy: &'static str) -> Subject {
    Subject {
        needed: true,
        purpose,
        without,
        remedy,
    }
}

/// Where the kubelet is, of which single machines have none.
pub(super) fn kubelet() -> Check {
    let found = Kubelet::new(None).map_err(|error| error.to_string());
    let cgroup = found.and_then(|kubelet| kubelet.cgroup().map_err(|error| error.to_string()));
    KUBELET.check("kubelet", cgroup.map(|path| path.display().to_string()))
}

const KUBELET: Subject = Subject {
    needed: false,
    purpose: "its probes reach pods where policy refuses all others in clear",
    without: "such pods fail their probes by HTTP and gRPC; all else works",
    remedy: "hostPID for the agent, whose view of the cgroups must be the node's; a kubelet that listens elsewhere is \
             named by --kubelet-cgroup",
};

/// Kernel TLS, which makes things fast and nothing else.
pub(super) fn kernel_tls() -> Vec<Check> {
    let found = offload::probe(&Suites::ALL);
    let mut checks = Vec::new();
    for suite in Suites::ALL {
        let name = suite.suite().as_str().unwrap_or_default();
        let speed = found.ciphers.iter().find(|c| c.suite == suite);
        let speed = speed.map(|c| format!("{} MB/s", c.bytes_per_second / 1_000_000));
        checks.push(CIPHER.check(
            format!("kernel TLS: {name}"),
            speed.ok_or_else(|| why(&found, name)),
        ));
    }
    let tried = |has: bool, what: &str| match has {
        true => Ok("tried".to_owned()),
        false => Err(why(&found, what)),
    };
    checks.push(SPLICE.check("kernel TLS: splice", tried(found.splice, "splice")));
    checks.push(REKEY.check("kernel TLS: change of keys", tried(found.rekey, "rekey")));
    checks
}

/// Why something is missing; what is missing as a whole is the reason for its parts.
fn why(found: &Capabilities, what: &str) -> String {
    let missing = found.missing.iter();
    let named = missing.clone().find(|missing| missing.what == what);
    let reason = named.or_else(|| missing.clone().next());
    reason.map_or_else(|| "not tried".to_owned(), |missing| missing.why.clone())
}

const CIPHER: Subject = Subject {
    needed: false,
    purpose: "the kernel seals and opens what connections carry",
    without: "everything works: TLS is done in the agent, at several times the cost for large transfers",
    remedy: "a kernel with CONFIG_TLS (`modprobe tls`) and the cipher's module; for AES, aesni_intel or its like",
};

const SPLICE: Subject = Subject {
    needed: false,
    purpose: "bytes go from socket to socket without entering the agent",
    without: "everything works: bytes are copied through the agent",
    remedy: "a kernel with CONFIG_TLS whose splice is right",
};

const REKEY: Subject = Subject {
    needed: false,
    purpose: "a connection outlives its key (256 GiB), and clients may change theirs",
    without: "everything works: connections with kernel TLS end in order after 256 GiB",
    remedy: "Linux 6.14 or later",
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::Missing;

    #[test]
    fn parts_are_missing_because_the_whole_is() {
        let missing = |what, why: &str| Missing {
            what,
            why: why.to_owned(),
        };
        let none = Capabilities {
            missing: vec![missing("kernel TLS", "no module")],
            ..Capabilities::default()
        };
        assert_eq!(why(&none, "splice"), "no module");
        let some = Capabilities {
            missing: vec![
                missing("splice", "data changed"),
                missing("rekey", "too old"),
            ],
            ..Capabilities::default()
        };
        assert_eq!(why(&some, "rekey"), "too old");
    }
}
