//! What no honest stack sends, on a pod's wire: the programs that watch it must not take plaintext for TLS.

use std::{io::Write, net::SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use sealane_harness::{
    NodeName,
    frames::{self, ACK, Frame, RST, SYN, URG},
};
use serde_json::Value;

use super::attest::{CLIENT_HELLO, DATA, PORT, SERVER_HELLO, flows, wait_watched};
use crate::{
    pair::{Pair, expect_reset},
    stage::{Shop, Stage},
};

/// The first port of the clients; each case has its own.
const FIRST: u16 = 20_000;
/// The first sequence numbers of both ends.
const CLIENT: u32 = u32::MAX - 20;
const SERVER: u32 = 7_000;
const TEXT: &[u8] = b"GET / HTTP/1.1\r\n";
/// What a client claims of its frames to its own kernel: LLDP.
const LIE: u16 = 0x88cc;

/// A connection of which every frame is made up.
struct Case {
    name: &'static str,
    /// After both hellos.
    frames: Vec<Made>,
    verdict: &'static str,
    /// Records, bytes of records and plaintext bytes that the server's end must tell of the client.
    counts: (u64, u64, u64),
    /// Whether the client's hello came with its SYN (RFC 7413).
    is_fast_open: bool,
}

/// A frame of the client; where it stands is counted from the end of its hello.
struct Made {
    at: i64,
    payload: Vec<u8>,
    shape: fn(&mut Frame),
}

const HELLO: u64 = CLIENT_HELLO.len() as u64;
const ONE: u64 = DATA.len() as u64;
const TEXTS: u64 = TEXT.len() as u64;

/// Both ends' frames are made up; what the agent of the server says of them is compared with what they were.
pub fn frames(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("DISABLE")?;
    wait_watched(&shop.agents.b)?;
    let mut cases = cases();
    cases.extend(odd_headers());
    let open: Vec<_> = cases
        .iter()
        .zip(FIRST..)
        .map(|(c, port)| opening(&shop, c, port))
        .collect();
    frames::send(shop.world(), &shop.stranger, 0, &open.concat())?;
    let answers: Vec<_> = (FIRST..)
        .take(cases.len())
        .map(|port| answer(&shop, port))
        .collect();
    frames::send(shop.world(), &shop.web, 0, &answers.concat())?;
    let rest: Vec<_> = cases
        .iter()
        .zip(FIRST..)
        .map(|(c, port)| rest(&shop, c, port))
        .collect();
    frames::send(shop.world(), &shop.stranger, 0, &rest.concat())?;
    let seen = flows(&shop.agents.b, &shop.web)?;
    for (case, port) in cases.iter().zip(FIRST..) {
        check(case, of_port(&seen, &shop, port)?)?;
    }
    lie(&shop)
}

/// A pod that lies to its own kernel about its frames is seen to send plaintext all the same.
fn lie(shop: &Shop<'_>) -> Result<()> {
    let port = FIRST + 500;
    let clear = Frame {
        payload: TEXT.to_vec(),
        flags: ACK,
        ..frame(shop, port, false, SERVER + 1)
    };
    frames::send(shop.world(), &shop.web, 0, &answer(shop, port)[..1])?;
    frames::send(shop.world(), &shop.web, LIE, &[clear])?;
    let seen = flows(&shop.agents.b, &shop.web)?;
    let flow = of_port(&seen, shop, port)?;
    ensure!(flow["verdict"] == "PLAINTEXT", "{flow:#}");
    Ok(())
}

/// What a STRICT port answers in clear is told of by name, whoever has let it through; what it refuses is not its fault.
pub fn strict(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    wait_watched(&shop.agents.b)?;
    let listener = shop.web.listen(PORT)?;
    let mut refused = shop.stranger.connect(shop.web_address(PORT))?;
    refused.write_all(TEXT)?;
    expect_reset(&mut refused)?;
    let mut pair = Pair::open(&shop.customer, shop.web_address(PORT), &listener)?;
    pair.talk()?;
    let name = "sealane_wire_strict_plaintext_bytes_total";
    let labels = [("workload", "web")];
    ensure!(shop.agents.b.metrics()?.sum(name, &labels) == 0.0);
    let syn = Frame {
        flags: SYN,
        ..frame(&shop, FIRST, true, CLIENT)
    };
    frames::send(shop.world(), &shop.stranger, 0, &[syn])?;
    let [opened, _] = &answer(&shop, FIRST)[..] else {
        bail!("no answer")
    };
    let clear = Frame {
        payload: TEXT.to_vec(),
        ..frame(&shop, FIRST, false, SERVER + 1)
    };
    frames::send(shop.world(), &shop.web, 0, &[opened.clone(), clear])?;
    shop.metric(NodeName::B, name, &labels, 16.0)
}

fn cases() -> Vec<Case> {
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

fn frame(shop: &Shop<'_>, port: u16, is_from_client: bool, sequence: u32) -> Frame {
    let client = SocketAddr::new(shop.stranger.ip(shop.family()), port);
    let server = shop.web_address(PORT);
    let (source, destination) = if is_from_client {
        (client, server)
    } else {
        (server, client)
    };
    Frame {
        source,
        destination,
        sequence,
        flags: ACK,
        payload: Vec::new(),
        tags: 0,
        extensions: 0,
        is_fragment: false,
    }
}

fn opening(shop: &Shop<'_>, case: &Case, port: u16) -> Vec<Frame> {
    let mut syn = Frame {
        flags: SYN,
        ..frame(shop, port, true, CLIENT)
    };
    let hello = Frame {
        payload: CLIENT_HELLO.to_vec(),
        ..frame(shop, port, true, CLIENT.wrapping_add(1))
    };
    if case.is_fast_open {
        syn.payload = CLIENT_HELLO.to_vec();
        return vec![syn];
    }
    vec![syn, hello]
}

fn answer(shop: &Shop<'_>, port: u16) -> Vec<Frame> {
    let syn = Frame {
        flags: SYN | ACK,
        ..frame(shop, port, false, SERVER)
    };
    let hello = Frame {
        payload: SERVER_HELLO.to_vec(),
        ..frame(shop, port, false, SERVER + 1)
    };
    vec![syn, hello]
}

fn rest(shop: &Shop<'_>, case: &Case, port: u16) -> Vec<Frame> {
    let start = i64::from(CLIENT) + 1 + i64::try_from(CLIENT_HELLO.len()).unwrap_or(0);
    let made = case.frames.iter().map(|made| {
        let [.., a, b, c, d] = (start + made.at).to_be_bytes();
        let mut frame = frame(shop, port, true, u32::from_be_bytes([a, b, c, d]));
        frame.payload.clone_from(&made.payload);
        (made.shape)(&mut frame);
        frame
    });
    made.collect()
}

fn of_port<'v>(seen: &'v [Value], shop: &Shop<'_>, port: u16) -> Result<&'v Value> {
    let client = SocketAddr::new(shop.stranger.ip(shop.family()), port).to_string();
    let flow = seen.iter().find(|flow| flow["remote"] == client);
    flow.with_context(|| format!("no connection of {client}: {seen:#?}"))
}

fn check(case: &Case, flow: &Value) -> Result<()> {
    let counts = &flow["received"];
    let (records, tls, plaintext) = case.counts;
    let is_so = flow["verdict"] == case.verdict
        && counts["records"] == records
        && counts["tls_bytes"] == tls
        && counts["plaintext_bytes"] == plaintext;
    ensure!(
        is_so,
        "{}: {}, {:?} expected: {flow:#}",
        case.name,
        case.verdict,
        case.counts
    );
    Ok(())
}
