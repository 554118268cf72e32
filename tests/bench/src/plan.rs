//! What a run will do: which measurements, how long or how much each, on which variants.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use crate::load::{Extent, Visit};

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rounds: u32,
    pub size: Size,
    /// Idle connections whose memory is measured.
    pub idle: usize,
    /// Names of variants; empty: all.
    pub only: Vec<String>,
    pub measures: Vec<Measure>,
    pub pairs: Vec<ForeignPair>,
    pub json: bool,
    /// Results go to `DIRECTORY/NAME.json` and `.svg`.
    pub output: PathBuf,
    pub name: String,
}

impl Plan {
    pub fn includes(&self, variant: &str) -> bool {
        variant == DIRECT || self.only.is_empty() || self.only.iter().any(|name| name == variant)
    }
}

/// What everything is compared with.
pub const DIRECT: &str = "direct";

/// How much a measurement is.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum Size {
    /// Milliseconds of a bulk transfer; the others follow.
    Time(u64),
    /// Bytes of a bulk transfer; the others follow.
    Amount(u64),
}

/// A pair of proxies given on the command line.
#[derive(Clone, Debug)]
pub struct ForeignPair {
    pub name: String,
    pub start: OsString,
    /// Where the client connects.
    pub client: SocketAddr,
    /// Where the server listens.
    pub server: SocketAddr,
}

/// A measurement. Its name is its key in the JSON file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    Stream,
    Streams,
    Talk,
    Talks,
    Connections,
    Handshakes,
}

/// The kinds of load.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Bulk { connections: usize },
    Talk { connections: usize },
    Turnover { at_once: usize, visit: Visit },
}

impl Measure {
    pub const ALL: [Self; 6] = [
        Self::Stream,
        Self::Streams,
        Self::Talk,
        Self::Talks,
        Self::Connections,
        Self::Handshakes,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::Stream => "1 stream",
            Self::Streams => "8 streams",
            Self::Talk => "request/response, 1 connection",
            Self::Talks => "request/response, 64 connections",
            Self::Connections => "new connections",
            Self::Handshakes => "handshakes",
        }
    }

    pub fn kind(self) -> Kind {
        let turnover = |visit| Kind::Turnover { at_once: 8, visit };
        match self {
            Self::Stream => Kind::Bulk { connections: 1 },
            Self::Streams => Kind::Bulk { connections: 8 },
            Self::Talk => Kind::Talk { connections: 1 },
            Self::Talks => Kind::Talk { connections: 64 },
            Self::Connections => turnover(Visit::Request),
            Self::Handshakes => turnover(Visit::Greeting),
        }
    }

    /// Bounded in time and in amount, whichever of both the run is sized by.
    pub fn extent(self, size: Size) -> Extent {
        match size {
            Size::Time(milliseconds) => Extent {
                milliseconds,
                amount: match self {
                    Self::Stream | Self::Streams => 1 << 40,
                    Self::Talk | Self::Talks => 10_000_000,
                    // Each leaves a port that waits for a minute.
                    Self::Connections | Self::Handshakes => 5000,
                },
            },
            Size::Amount(bytes) => Extent {
                milliseconds: 600_000,
                amount: match self {
                    Self::Stream | Self::Streams => bytes,
                    // By experience as long as the bulk transfer, roughly.
                    Self::Talk | Self::Talks => (bytes / 32_768).clamp(64, 100_000),
                    Self::Connections | Self::Handshakes => (bytes / 262_144).clamp(16, 5000),
                },
            },
        }
    }
}
