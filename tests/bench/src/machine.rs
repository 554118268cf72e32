//! What the numbers were measured on.

use std::{fs, process::Command, thread};

use serde::Serialize;

/// Facts without which a number says nothing.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub kernel: String,
    pub cpu: String,
    pub cpus: usize,
    pub is_emulated: bool,
    pub memory_kib: Option<u64>,
    pub date: String,
    pub versions: Vec<String>,
}

impl Machine {
    pub fn look() -> Self {
        Self {
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: cpu(),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            is_emulated: is_emulated(),
            memory_kib: memory(),
            date: jiff::Timestamp::now().to_string(),
            versions: versions(),
        }
    }
}

/// Whether instructions are translated by QEMU: time then depends on what is counted, and there is little of it.
pub fn is_emulated() -> bool {
    cpu().contains("TCG")
}

fn cpu() -> String {
    let info = read("/proc/cpuinfo");
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(": "));
    name.map_or_else(
        || std::env::consts::ARCH.into(),
        |(_, name)| name.to_owned(),
    )
}

fn memory() -> Option<u64> {
    let info = read("/proc/meminfo");
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// First lines of what programs say about themselves; absent ones are left out.
fn versions() -> Vec<String> {
    let own = std::env::current_exe().map(|own| own.with_file_name("sealane"));
    let sealane = own.unwrap_or_else(|_| "sealane".into());
    let ask = |program: &std::path::Path, flag| {
        let said = Command::new(program).arg(flag).output().ok()?;
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let line = said
            .lines()
            .find(|line| line.contains(|c: char| c.is_ascii_digit()));
        line.map(|line| line.trim().to_owned())
    };
    [
        ask(&sealane, "--version"),
        ask("stunnel4".as_ref(), "-version"),
        ask("haproxy".as_ref(), "-v"),
    ]
    .into_iter()
    .flatten()
    .collect()
}
