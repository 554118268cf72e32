//! The load: one process in the client's pod, one in the server's, told what to do over standard input.
//!
//! A process of its own in each pod, because a socket belongs to the network namespace and the cgroup of the
//! process that makes it, and because what the load itself costs must be told apart from what the proxies cost.
//! Knows nothing of proxies: it connects to an address and listens on one.

mod bulk;
mod client;
mod latency;
mod remote;
mod server;
mod talk;
mod turnover;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use client::{NAME, run};
pub use remote::Load;

/// How much a job does: it ends with whichever is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    pub milliseconds: u64,
    /// Bytes of a bulk transfer, or operations; of all connections together.
    pub amount: u64,
}

/// What a load process can be told.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Job {
    /// Be the server at this address until the end.
    Serve { at: SocketAddr },
    /// Connect, and wait until the server has answered on each connection: all handshakes are over then.
    Open {
        to: SocketAddr,
        connections: usize,
        purpose: Purpose,
    },
    /// Send over the open connections, then close them.
    Bulk(Extent),
    /// Ask and be answered over the open connections, then close them.
    Talk(Extent),
    /// Open, use and close connections.
    Turnover {
        to: SocketAddr,
        at_once: usize,
        visit: Visit,
        extent: Extent,
    },
    /// Close the open connections.
    Close,
}

/// What a connection is for; its first byte tells the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    Bulk,
    Talk,
}

/// What a connection of [`Job::Turnover`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Visit {
    /// A request, its response, and an orderly end of both directions.
    Request,
    /// One byte each way: a handshake and next to nothing else.
    Greeting,
}

/// What a job has come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub seconds: f64,
    pub bytes: u64,
    pub operations: u64,
    /// Connections that were refused, reset or silent for too long.
    pub failures: u64,
    /// Of operations, in microseconds.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Done(Outcome),
    Failed(String),
}

/// First bytes of a connection: [`Purpose`], and for [`Visit::Request`] that no greeting is wanted.
mod opening {
    pub(super) const BULK: u8 = b'B';
    pub(super) const TALK: u8 = b'T';
    pub(super) const REQUEST: u8 = b'R';
    /// The server's answer to the first two.
    pub(super) const GREETING: u8 = b'!';
}

/// A remote procedure call of the usual size.
const REQUEST_LENGTH: usize = 128;
const RESPONSE_LENGTH: usize = 1024;
