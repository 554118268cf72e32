//! What an agent takes: memory and processor time, as the kernel counts them.

use std::{
    fs,
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Context, Result};
use comfy_table::{Cell, CellAlignment};
use sealane_harness::Agent;

/// What the issue tracker of the project asks for, with 50,000 pods.
const GOAL: &str = "Goal with 50,000 pods: under 64 MiB, ready in under 10 s.";

/// Memory in KiB.
#[derive(Clone, Copy)]
pub struct Figures {
    rss: u64,
    pss: u64,
    anonymous: u64,
    /// Since the phase began.
    peak: u64,
    /// Since the process was started.
    pub cpu: Duration,
}

impl Figures {
    pub fn of(agent: &Agent) -> Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", agent.pid()))?;
        let kib = |key: &str| -> Result<u64> {
            let line = rollup.lines().find_map(|line| line.strip_prefix(key));
            let number = line.and_then(|line| line.split_whitespace().next());
            Ok(number.with_context(|| format!("no {key}"))?.parse()?)
        };
        Ok(Self {
            rss: kib("Rss:")?,
            pss: kib("Pss:")?,
            anonymous: kib("Anonymous:")?,
            peak: agent.peak_kib()?,
            cpu: cpu(agent.pid())?,
        })
    }

    /// Forgets the peak of before (proc_pid_clear_refs(5)).
    pub fn begin(agent: &Agent) -> Result<Self> {
        fs::write(format!("/proc/{}/clear_refs", agent.pid()), "5")?;
        Self::of(agent)
    }

    /// With the processor time since then.
    pub fn since(self, begin: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(begin.cpu),
            ..self
        }
    }
}

/// In user and kernel mode (proc_pid_stat(5), fields 14 and 15, in hundredths of a second).
fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = |at: usize| -> Result<u64> {
        let field = fields.split_whitespace().nth(at);
        Ok(field.context("a short stat")?.parse()?)
    };
    Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}

/// What is told in the end.
pub struct Table {
    size: String,
    rows: comfy_table::Table,
    changes: Vec<String>,
}

impl Table {
    pub fn new(size: String) -> Self {
        let mut rows = comfy_table::Table::new();
        rows.load_style(comfy_table::presets::ASCII_MARKDOWN);
        rows.set_header([
            "", "s", "CPU s", "CPU ms/s", "peak MiB", "RSS MiB", "PSS MiB", "own MiB",
        ]);
        Self {
            size,
            rows,
            changes: Vec::new(),
        }
    }

    /// What a phase has taken, and what is held at its end.
    pub fn add(&mut self, name: &str, (took, phase): (Duration, Figures)) {
        let mib = |kib: u64| format!("{}.{}", kib >> 10, (kib & 1023) * 10 / 1024);
        let numbers = [
            format!("{:.1}", took.as_secs_f64()),
            format!("{:.2}", phase.cpu.as_secs_f64()),
            format!(
                "{:.0}",
                1000.0 * phase.cpu.as_secs_f64() / took.as_secs_f64()
            ),
            mib(phase.peak),
            mib(phase.rss),
            mib(phase.pss),
            mib(phase.anonymous),
        ];
        let numbers = numbers.map(|text| Cell::new(text).set_alignment(CellAlignment::Right));
        self.rows
            .add_row([Cell::new(name)].into_iter().chain(numbers));
    }

    pub fn change(&mut self, name: &str, took: &[Duration]) {
        let took: Vec<_> = took.iter().map(|t| t.as_millis().to_string()).collect();
        self.changes.push(format!(
            "{name}, and returns: in force after {} ms",
            took.join(", ")
        ));
    }

    pub fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}\n{}", self.size, self.rows)?;
        for change in &self.changes {
            writeln!(out, "{change}")?;
        }
        writeln!(out, "{GOAL}")
    }
}
