//! What is sent, and what has to be said of it.

use sealane_harness::frames::{Frame, RST, SYN, URG};

use super::{
    super::attest::{CLIENT_HELLO, DATA},
    TEXT,
};

/// A connection of which every frame is made up.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// After both hellos.
    pub(super) frames: Vec<Made>,
    pub(super) verdict: &'static str,
    /// Records, bytes of records and plaintext bytes that the server's end must tell of the client.
    pub(super) counts: (u64, u64, u64),
    /// Whether the client's hello came with its SYN (RFC 7413).
    pub(super) is_fast_open: bool,
}

/// A frame of the client; where it stands is counted from the end of its hello.
pub(super) struct Made {
    pub(super) at: i64,
    pub(super) payload: Vec<u8>,
    pub(super) shape: fn(&mut Frame),
}

const HELLO: u64 = CLIENT_HELLO.len() as u64;
const ONE: u64 = DATA.len() as u64;
pub(super) const TEXTS: u64 = TEXT.len() as u64;

pub(super) fn all() -> Vec<Case> {
    let mut cases = segments();
    cases.extend(contents());
    cases.extend(openings());
    cases.extend(odd_headers());
    cases
}

fn segments() -> Vec<Case> {
    let long = record(16_384 + 16 + 48 + 256);
    let shuffled = record(100);
    vec![
        case(
            "segments of a byte",
            bytewise(&DATA),
            "ENCRYPTED",
            (2, HELLO + ONE, 0),
        ),
        case(
            "sent again with other content",
            vec![made(0, &DATA), made(0, &TEXT[..8])],
            "ENCRYPTED",
            (2, HELLO + ONE, 0),
        ),
        case(
            "out of order within a record",
            vec![
                made(0, &shuffled[..10]),
                made(60, &shuffled[60..]),
                made(10, &shuffled[10..60]),
            ],
            "ENCRYPTED",
            (2, HELLO + 105, 0),
        ),
        case(
            "out of order around a header",
            vec![made(8, &DATA), made(0, &DATA)],
            "UNKNOWN",
            (1, HELLO, 0),
        ),
        case(
            "the longest record",
            mss(&long),
            "ENCRYPTED",
            (2, HELLO + long.len() as u64, 0),
        ),
    ]
}

fn contents() -> Vec<Case> {
    vec![
        case(
            "plaintext after records",
            vec![made(0, &DATA), made(8, TEXT)],
            "PLAINTEXT",
            (2, HELLO + ONE, TEXTS),
        ),
        case(
            "what looks like TLS at first",
            bytewise(b"\x17\x03\x03in clear"),
            "PLAINTEXT",
            (1, HELLO, 11),
        ),
        case(
            "a length that is none",
            vec![made(0, &[23, 3, 3, 0x48, 1, 9])],
            "PLAINTEXT",
            (1, HELLO, 6),
        ),
        case(
            "probes",
            vec![
                made(-1, b"x"),
                made(0, &DATA[..1]),
                made(0, &DATA[..1]),
                made(0, &DATA),
            ],
            "ENCRYPTED",
            (2, HELLO + ONE, 0),
        ),
        case(
            "urgent",
            vec![shaped(0, &DATA, |f| f.flags |= URG)],
            "UNKNOWN",
            (1, HELLO, 0),
        ),
        case(
            "urgent ahead",
            vec![shaped(0, b"", |f| f.flags |= URG), made(0, &DATA)],
            "UNKNOWN",
            (1, HELLO, 0),
        ),
        Case {
            is_fast_open: true,
            ..case(
                "fast open",
                vec![made(0, &DATA)],
                "ENCRYPTED",
                (2, HELLO + ONE, 0),
            )
        },
    ]
}

/// What begins or ends a connection, or seems to.
fn openings() -> Vec<Case> {
    vec![
        case(
            "a reset that nobody heeds, and a SYN",
            vec![
                made(0, TEXT),
                shaped(90_000, b"", |f| f.flags = RST),
                shaped(15, b"", |f| f.flags = SYN),
                made(16, &DATA),
            ],
            "PLAINTEXT",
            (1, HELLO, TEXTS),
        ),
        case(
            "opened anew",
            vec![
                made(0, &DATA),
                shaped(-5000, b"", |f| f.flags = SYN),
                made(-4999, TEXT),
            ],
            "UNKNOWN",
            (2, HELLO + ONE, 0),
        ),
        case(
            "far outside of every window",
            vec![made((1 << 30) + 1000, TEXT), made(0, &DATA)],
            "UNKNOWN",
            (2, HELLO + ONE, 0),
        ),
    ]
}

/// What is around a segment.
fn odd_headers() -> Vec<Case> {
    vec![
        case(
            "tagged",
            vec![shaped(0, &DATA, |f| f.tags = 2)],
            "ENCRYPTED",
            (2, HELLO + ONE, 0),
        ),
        case(
            "tagged, in clear",
            vec![shaped(0, TEXT, |f| f.tags = 1)],
            "PLAINTEXT",
            (1, HELLO, TEXTS),
        ),
        case(
            "options",
            vec![shaped(0, &DATA, |f| f.extensions = 9)],
            "ENCRYPTED",
            (2, HELLO + ONE, 0),
        ),
        case(
            "options, in clear",
            vec![shaped(0, TEXT, |f| f.extensions = 100)],
            "PLAINTEXT",
            (1, HELLO, TEXTS),
        ),
        case(
            "a fragment",
            vec![shaped(0, TEXT, |f| f.is_fragment = true), made(16, &DATA)],
            "UNKNOWN",
            (1, HELLO, 0),
        ),
    ]
}

fn case(
    name: &'static str,
    frames: Vec<Made>,
    verdict: &'static str,
    counts: (u64, u64, u64),
) -> Case {
    Case {
        name,
        frames,
        verdict,
        counts,
        is_fast_open: false,
    }
}

fn made(at: i64, payload: &[u8]) -> Made {
    shaped(at, payload, |_| ())
}

fn shaped(at: i64, payload: &[u8], shape: fn(&mut Frame)) -> Made {
    Made {
        at,
        payload: payload.to_vec(),
        shape,
    }
}

fn bytewise(bytes: &[u8]) -> Vec<Made> {
    (0..)
        .zip(bytes)
        .map(|(at, byte)| made(at, &[*byte]))
        .collect()
}

fn mss(bytes: &[u8]) -> Vec<Made> {
    let starts = (0..).step_by(1400);
    starts
        .zip(bytes.chunks(1400))
        .map(|(at, part)| made(at, part))
        .collect()
}

fn record(length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    let mut bytes = vec![23, 3, 3, high, low];
    bytes.resize(5 + usize::from(length), 7);
    bytes
}
