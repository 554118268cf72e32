//! `sealane capture` as typed.

use std::path::PathBuf;

use clap::Args;

use super::QueryArgs;
use crate::admin::api;

/// What `sealane capture` was given.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// A pod of the node: NAMESPACE/NAME
    pub workload: String,

    /// Which packets, in a part of tcpdump's words: [src|dst] host ADDRESS, net RANGE, [src|dst] port PORT, portrange
    /// A-B, tcp, udp, icmp, icmp6, ip, ip6, arp, and, or, not, parentheses
    pub filter: Vec<String>,

    /// Write pcapng into this file, readable for its owner alone, instead of a line per packet; `-`: standard output
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,

    /// Also what is on the pod's loopback: there its processes and the agent exchange what is encrypted on the wire.
    /// The agent's log tells of it
    #[arg(long)]
    pub plaintext: bool,

    /// Stop after so many packets
    #[arg(short, long, value_name = "PACKETS")]
    pub count: Option<u64>,

    /// Stop after so long: 30s, 5m
    #[arg(short, long, value_name = "DURATION")]
    pub duration: Option<String>,

    /// Keep so many bytes of each packet at most
    #[arg(short, long, value_name = "BYTES", default_value_t = api::SNAPLEN)]
    pub snaplen: u32,

    #[command(flatten)]
    pub query: QueryArgs,
}
