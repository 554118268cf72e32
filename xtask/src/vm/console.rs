//! What the kernel says on its console: signs of trouble, and the verdict. Knows nothing of QEMU.

/// The first process ends a good run with this and the exit code,
const VERDICT: &str = "sealane-vm: exit code ";
/// or a bad one with this.
const ERROR: &str = "sealane-vm: error: ";
/// It says this when the command starts.
const RUNNING: &str = "sealane-vm: running";

/// A line of the kernel's that makes a run fail, and what it is called.
const TROUBLE: [(&str, &str); 12] = [
    ("Kernel panic", "kernel panic"),
    ("Oops:", "kernel oops"),
    ("BUG: soft lockup", "soft lockup"),
    ("BUG: ", "kernel bug"),
    ("kernel BUG at", "kernel bug"),
    (
        "general protection fault",
        "general protection fault in the kernel",
    ),
    ("blocked for more than", "hung task"),
    ("watchdog: BUG", "soft lockup"),
    ("detected stall", "stalled processor"),
    ("WARNING: ", "kernel warning"),
    ("Call Trace:", "kernel backtrace"),
    ("Out of memory:", "out of memory"),
];

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    Nothing,
    /// The machine is up.
    Running,
    ExitCode(u8),
    /// The first process could not do its work.
    Error(String),
    Trouble(&'static str),
}

/// Reads a line of the console.
pub fn read(line: &str) -> Meaning {
    if let Some((_, code)) = line.split_once(VERDICT) {
        return code
            .trim()
            .parse()
            .map_or(Meaning::Nothing, Meaning::ExitCode);
    }
    if line.contains(RUNNING) {
        return Meaning::Running;
    }
    if let Some((_, error)) = line.split_once(ERROR) {
        return Meaning::Error(error.trim().to_owned());
    }
    let trouble = TROUBLE.iter().find(|(sign, _)| line.contains(sign));
    trouble.map_or(Meaning::Nothing, |(_, name)| Meaning::Trouble(name))
}

#[cfg(test)]
mod tests {
    use super::{Meaning, read};

    #[test]
    fn lines() {
        assert_eq!(
            read("[    8.123456] sealane-vm: exit code 3"),
            Meaning::ExitCode(3)
        );
        assert_eq!(
            read("[    8.1] sealane-vm: exit code 1000"),
            Meaning::Nothing
        );
        assert_eq!(read("[    2.0] sealane-vm: running"), Meaning::Running);
        assert_eq!(
            read("[    2.0] sealane-vm: error: running x: not found"),
            Meaning::Error("running x: not found".into())
        );
        assert_eq!(
            read("[   14.2] Kernel panic - not syncing: sysrq triggered crash"),
            Meaning::Trouble("kernel panic")
        );
        assert_eq!(
            read("[  242.7] INFO: task mariadbd:812 blocked for more than 120 seconds."),
            Meaning::Trouble("hung task")
        );
        assert_eq!(read("[    1.0] Linux version 6.12"), Meaning::Nothing);
    }
}
