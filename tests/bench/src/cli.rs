//! What can be typed.

use std::{ffi::OsString, fs, net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::{
    machine,
    plan::{DIRECT, ForeignPair, Measure, Plan, Size},
    rounds::MOST_BATCHES,
    variants::NAMES,
};

const ABOUT: &str =
    "Measures Sealane beside direct TCP and other proxies, all in one interleaved run";

const VARIANTS: &str = "\
Variants, each between a client's and a server's network namespace on a bridge:
  direct         TCP, nothing in the way: what all ratios are to
  plain          from outside the mesh to a PERMISSIVE server: one agent
  userspace-tls  two mesh pods, STRICT, two agents with --ktls off
  plain-unwatched, userspace-tls-unwatched
                 these two with --attestation off; see --attest
  ktls-copy      the same with --ktls copy
  ktls-splice    the same with --ktls auto
  stunnel        stunnel in front of client and server, mutual TLS 1.3
  haproxy        HAProxy likewise, TCP mode
One that this kernel, agent or machine can't do is reported as such, and never
replaced by another.

Foreign pairs take all four options, once for each pair:
  --pair NAME --client 127.0.0.1:7001 --server 127.0.0.1:7003 --start '
    ip netns exec $CLIENT_NETNS proxy --listen 127.0.0.1:7001 --to $SERVER_IP:7002 &
    ip netns exec $SERVER_NETNS proxy --listen $SERVER_IP:7002 --to 127.0.0.1:7003 &
    wait'
COMMAND is for sh, and stays in the foreground. It is started in the client's
namespace; its environment has CLIENT_NETNS and SERVER_NETNS (names), CLIENT_IP
and SERVER_IP, and in CERTS a directory with root.crt and
{client,server}.{crt,key,pem}: ECDSA P-256, for client.test and server.test; a
.pem is certificate and key in one file. When it doesn't work, the error shows
what it wrote.

`cargo xtask bench --policy` measures something else: how long policy takes for a
mesh of 5,000 pods and 10,000 AuthorizationPolicies. `cargo xtask bench --ca`: how fast the CA service issues 5,000
certificates in a burst. Neither needs root.

Results: a table on stdout, NAME.json with every single value, NAME.svg.
Needs root. Progress goes to stderr.";

#[derive(Debug, Parser)]
#[command(max_term_width = 100, name = "cargo xtask bench", bin_name = "cargo xtask bench", about = ABOUT, after_help = VARIANTS)]
pub struct Args {
    /// Measures something else: an agent's memory in a cluster with so many running pods, and the time to its first
    /// snapshot
    #[arg(long, value_name = "PODS", num_args = 0..=1, default_missing_value = "50000")]
    pub kubernetes: Option<u32>,
    /// Prints the JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Measures every variant so often, in turn; the medians count
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
    /// Two short rounds: to see that it works, not for numbers
    #[arg(long, conflicts_with = "rounds")]
    quick: bool,
    /// Only these variants, and direct
    #[arg(long, value_name = "VARIANT,...", value_delimiter = ',')]
    only: Vec<String>,
    /// Only what tells the cost of attestation: plain and userspace-tls, each with and without
    #[arg(long, conflicts_with = "only")]
    attest: bool,
    /// Only these measurements
    #[arg(long, value_name = "MEASURE,...", value_delimiter = ',', value_enum)]
    measure: Vec<Measure>,
    /// Milliseconds of each measurement
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(20..=60_000))]
    time: u64,
    /// Fixed amounts instead of fixed times: so many bytes of a bulk transfer, and operations in proportion.
    /// The default where the processor is emulated
    #[arg(long, value_name = "N", conflicts_with_all = ["time", "quick"], value_parser = clap::value_parser!(u64).range(1 << 16..=1 << 40))]
    bytes: Option<u64>,
    /// In a virtual machine whose clock counts instructions: `cargo xtask vm --icount`
    #[arg(long)]
    vm: bool,
    /// Idle connections that are opened at a time, four times at most, to measure their memory [default: 1500,
    /// or 100 where the processor is emulated]
    #[arg(long, value_name = "N", value_parser = batch)]
    idle: Option<usize>,
    /// Name of the result files
    #[arg(long, default_value = "bench")]
    name: String,
    /// Directory of the result files [default: bench in cargo's target directory]
    #[arg(long, value_name = "DIR", overrides_with = "output")]
    output: Option<PathBuf>,
    /// Name of a foreign pair of proxies
    #[arg(long, value_name = "NAME")]
    pair: Vec<String>,
    /// Command that starts both proxies of the pair
    #[arg(long, value_name = "COMMAND")]
    start: Vec<OsString>,
    /// Where the client connects
    #[arg(long, value_name = "ADDR:PORT")]
    client: Vec<SocketAddr>,
    /// Where the server listens
    #[arg(long, value_name = "ADDR:PORT")]
    server: Vec<SocketAddr>,
}

fn batch(typed: &str) -> Result<usize, String> {
    let most = 9000 / MOST_BATCHES;
    match typed.parse() {
        Ok(batch) if (1..=most).contains(&batch) => Ok(batch),
        _ => Err(format!("1 to {most}")),
    }
}

/// Of a bulk transfer in an emulated processor, where a second is long.
const EMULATED_BYTES: u64 = 16 << 20;
/// What `--attest` compares.
const ATTESTED: [&str; 4] = [
    "plain",
    "plain-unwatched",
    "userspace-tls",
    "userspace-tls-unwatched",
];
const QUICK: u64 = 200;
const IDLE: usize = 1500;
const EMULATED_IDLE: usize = 100;

impl Args {
    /// # Errors
    /// When what was typed doesn't fit together.
    pub fn plan(&self) -> Result<Plan> {
        let size = match self.bytes {
            Some(bytes) => Size::Amount(bytes),
            None if machine::is_emulated() => Size::Amount(EMULATED_BYTES),
            None if self.quick => Size::Time(QUICK),
            None => Size::Time(self.time),
        };
        let pairs = self.pairs()?;
        for name in &self.only {
            let is_known = NAMES.contains(&name.as_str()) || self.pair.contains(name);
            ensure!(is_known, "--only {name}: no such variant");
        }
        ensure!(
            !self.vm,
            "--vm: the machine is started by `cargo xtask bench`"
        );
        ensure!(self.rounds > 0, "--rounds 0");
        ensure!(
            is_file_name(&self.name),
            "--name {}: letters, digits, - and _",
            self.name
        );
        Ok(Plan {
            rounds: if self.quick { 2 } else { self.rounds },
            size,
            idle: self.idle.unwrap_or(if machine::is_emulated() {
                EMULATED_IDLE
            } else {
                IDLE
            }),
            only: if self.attest {
                ATTESTED.map(str::to_owned).to_vec()
            } else {
                self.only.clone()
            },
            measures: if self.measure.is_empty() {
                Measure::ALL.to_vec()
            } else {
                self.measure.clone()
            },
            pairs,
            json: self.json,
            output: self.output.clone().map_or_else(default_output, Ok)?,
            name: self.name.clone(),
        })
    }

    fn pairs(&self) -> Result<Vec<ForeignPair>> {
        let count = self.pair.len();
        let complete = [self.start.len(), self.client.len(), self.server.len()] == [count; 3];
        ensure!(
            complete,
            "every --pair needs its --start, --client and --server"
        );
        let mut pairs: Vec<ForeignPair> = Vec::with_capacity(count);
        for (index, name) in self.pair.iter().enumerate() {
            let is_new = name != DIRECT
                && !NAMES.contains(&name.as_str())
                && !pairs.iter().any(|pair| pair.name == *name);
            ensure!(
                is_new && is_file_name(name),
                "--pair {name}: taken, or not a plain word"
            );
            pairs.push(ForeignPair {
                name: name.clone(),
                start: self.start[index].clone(),
                client: self.client[index],
                server: self.server[index],
            });
        }
        Ok(pairs)
    }
}

fn is_file_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !name.is_empty() && name.chars().all(is_plain)
}

/// `bench` in the target directory that this program was built in (cargo marks it with CACHEDIR.TAG).
fn default_output() -> Result<PathBuf> {
    let own = fs::canonicalize(std::env::current_exe()?)?;
    let target = own
        .ancestors()
        .find(|parent| parent.join("CACHEDIR.TAG").is_file());
    let target =
        target.context("no cargo target directory above this program: say --output DIR")?;
    Ok(target.join("bench"))
}
