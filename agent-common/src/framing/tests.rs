//! Against a reference that looks at each byte of the stream, in order and once.

extern crate std;

use std::{vec, vec::Vec};

use super::*;

const ROUNDS: usize = 20_000;

struct Bytes<'a>(&'a [u8]);

impl Payload for Bytes<'_> {
    fn header(&self, at: u32) -> Option<u64> {
        let bytes = self.0.get(at as usize..at as usize + 5)?;
        Some(
            bytes
                .iter()
                .fold(0, |head, byte| (head << 8) | u64::from(*byte)),
        )
    }

    fn byte(&self, at: u32) -> Option<u8> {
        self.0.get(at as usize).copied()
    }
}

/// What each byte of a stream is: of a record, or not.
fn reference(stream: &[u8]) -> (Counts, u8) {
    let (mut counts, mut opening) = (Counts::default(), Opening::NONE);
    let mut header = Vec::new();
    let mut left = 0;
    for (index, byte) in stream.iter().enumerate() {
        if counts.plaintext > 0 {
            counts.plaintext += 1;
        } else if left > 0 {
            if index == 5 && stream[0] == 22 && (1..=2).contains(byte) {
                opening = *byte;
            }
            counts.tls += 1;
            left -= 1;
        } else {
            header.push(*byte);
            let fits = match header[..] {
                [kind] => (20..=23).contains(&kind),
                [_, major] => major == 3,
                [_, _, minor] => (1..=3).contains(&minor),
                [_, _, _, _] => true,
                [_, _, _, high, low] => {
                    left = usize::from(high) * 256 + usize::from(low);
                    (1..=18_432).contains(&left)
                }
                _ => unreachable!(),
            };
            if !fits {
                counts.plaintext += header.len() as u64;
            } else if header.len() == 5 {
                header.clear();
                counts.tls += 5;
                counts.records += 1;
            }
        }
    }
    (counts, opening)
}

fn record(kind: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![kind, 3, if kind == 22 { 1 } else { 3 }];
    bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    bytes.extend((0..length).map(|_| fastrand::u8(..)));
    bytes
}

/// Records of all sizes, and sometimes what is none.
fn stream() -> Vec<u8> {
    let mut bytes = Vec::new();
    if fastrand::u8(..8) > 0 {
        bytes.extend(record(22, fastrand::usize(1..600)));
        bytes[5] = fastrand::u8(..4);
    }
    for _ in 0..fastrand::usize(..12) {
        let length = match fastrand::u8(..4) {
            0 => fastrand::usize(1..=18_432),
            1 => fastrand::usize(1..4),
            _ => fastrand::usize(1..300),
        };
        bytes.extend(record(fastrand::u8(20..=23), length));
    }
    match fastrand::u8(..6) {
        0 => bytes.extend((0..fastrand::usize(..400)).map(|_| fastrand::u8(..))),
        1 => bytes.extend([23, 3, 3, 0, 0]),
        2 => bytes.extend([23, 3, 3, 0x48, 1, 0]),
        _ => {}
    }
    bytes
}

struct Followed {
    stream: Stream,
    start: u32,
}

impl Followed {
    fn new() -> Self {
        let start = if fastrand::bool() {
            u32::MAX - fastrand::u32(..9000)
        } else {
            fastrand::u32(..)
        };
        let mut stream = Stream::default();
        stream.begin(start.wrapping_sub(1));
        Self { stream, start }
    }

    fn see(&mut self, bytes: &[u8], from: usize, to: usize) {
        let sequence = self.start.wrapping_add(u32::try_from(from).unwrap());
        let length = u32::try_from(to - from).unwrap();
        self.stream
            .follow(sequence, length, Bytes(&bytes[from..to]));
    }

    /// What is not in the reference: sent twice, and a header that isn't whole yet.
    fn counts(&self, reference: &Counts) -> Counts {
        let missing = reference.bytes().wrapping_sub(self.stream.counts.bytes());
        assert!(
            missing == 0,
            "{missing}: {:?} is not {reference:?}",
            self.stream
        );
        Counts {
            repeated: 0,
            ..self.stream.counts
        }
    }
}

fn segments(length: usize) -> Vec<(usize, usize)> {
    let (mut at, mut segments) = (0, Vec::new());
    let usual = [1, 2, 5, 6, 100, 1448, 20_000, 65_000][fastrand::usize(..8)];
    while at < length {
        let to = length.min(at + fastrand::usize(1..=usual));
        segments.push((at, to));
        at = to;
    }
    segments
}

/// The end of a stream within a header is in nobody's count.
fn whole(stream: &[u8]) -> usize {
    (0..=stream.len().min(5))
        .map(|less| stream.len() - less)
        .find(|end| reference(&stream[..*end]).0.bytes() == *end as u64)
        .unwrap_or(0)
}

#[test]
fn in_order_every_byte_is_what_the_reference_says() {
    for _ in 0..ROUNDS {
        let bytes = stream();
        let bytes = &bytes[..whole(&bytes)];
        let (expected, opening) = reference(bytes);
        let mut followed = Followed::new();
        for (from, to) in segments(bytes.len()) {
            followed.see(bytes, from, to);
        }
        if bytes.len() > 5 || expected.plaintext > 0 {
            assert_eq!(followed.counts(&expected), expected);
            assert_eq!(followed.stream.opening, opening, "{:?}", followed.stream);
        }
    }
}

#[test]
fn what_is_sent_again_is_counted_once() {
    for _ in 0..ROUNDS {
        let bytes = stream();
        let bytes = &bytes[..whole(&bytes)];
        let (expected, _) = reference(bytes);
        let mut followed = Followed::new();
        let mut again = 0;
        for (from, to) in segments(bytes.len()) {
            let earlier = from - fastrand::usize(..=from.min(3000));
            followed.see(bytes, earlier, to);
            again += from - earlier;
            if fastrand::bool() {
                // Other content under numbers that have passed is not looked at.
                let other = vec![b'x'; bytes.len()];
                followed.see(&other, earlier, to);
                again += to - earlier;
            }
        }
        assert_eq!(followed.counts(&expected), expected);
        assert_eq!(followed.stream.counts.repeated, again as u64);
    }
}

#[test]
fn nothing_lost_or_disordered_is_ever_taken_for_a_record() {
    let mut lost = 0;
    for _ in 0..ROUNDS {
        let bytes = stream();
        let bytes = &bytes[..whole(&bytes)];
        let (expected, _) = reference(bytes);
        let mut followed = Followed::new();
        let mut order = segments(bytes.len());
        let last = order.len();
        for index in 1..last {
            if fastrand::u8(..10) == 0 {
                order.swap(index - 1, index);
            }
        }
        let mut reached = 0;
        for (from, to) in order {
            if fastrand::u8(..20) > 0 {
                followed.see(bytes, from, to);
                reached = reached.max(to);
            }
        }
        let seen = followed.stream.counts;
        assert!(seen.tls <= expected.tls && seen.plaintext <= expected.plaintext);
        assert!(seen.records <= expected.records);
        assert_eq!(
            seen.bytes() + u64::from(followed.stream.have),
            reached as u64
        );
        lost += usize::from(seen.unclassified > 0);
    }
    assert!(lost > ROUNDS / 100, "{lost}: nothing was lost");
}

#[test]
fn framing_is_found_again_and_what_was_between_is_not_counted_as_records() {
    let mut followed = Followed::new();
    let bytes: Vec<u8> = (0..10).flat_map(|_| record(23, 100)).collect();
    followed.see(&bytes, 0, 105);
    // The second record's header is lost with what is around it.
    followed.see(&bytes, 110, 210);
    assert_eq!(followed.stream.phase, Phase::LOST);
    for index in 2..10 {
        followed.see(&bytes, index * 105, index * 105 + 105);
    }
    let counts = followed.stream.counts;
    assert_eq!(followed.stream.phase, Phase::RECORDS);
    assert_eq!((counts.plaintext, counts.bytes()), (0, 1050));
    // Two headers of the trial are not believed yet.
    assert_eq!(counts.records, 1 + 6);
}

#[test]
fn junk_far_outside_of_every_window_moves_nothing() {
    let mut followed = Followed::new();
    let bytes = record(23, 100);
    followed.see(&bytes, 0, 50);
    let far = followed.start.wrapping_add(1 << 31).wrapping_sub(10);
    let before = followed.stream.counts;
    followed.stream.follow(far, 7, Bytes(b"GET / H"));
    let counts = followed.stream.counts.since(&before);
    assert_eq!(
        counts,
        Counts {
            unclassified: 7,
            ..Counts::default()
        }
    );
    followed.see(&bytes, 50, 105);
    assert_eq!(followed.stream.counts.tls, 105);
}

#[test]
fn a_stream_seen_from_its_middle_is_lost() {
    let mut stream = Stream::default();
    stream.follow(7, 5, Bytes(b"hello"));
    assert_eq!((stream.counts.unclassified, stream.phase), (5, Phase::LOST));
}

#[test]
fn more_records_than_are_looked_at_in_one_packet_are_not_vouched_for() {
    let bytes: Vec<u8> = (0..4000).flat_map(|_| record(23, 17)).collect();
    let mut followed = Followed::new();
    followed.see(&bytes, 0, bytes.len());
    let counts = followed.stream.counts;
    assert_eq!(counts.bytes(), bytes.len() as u64);
    assert!(counts.unclassified > 0 && counts.plaintext == 0);
    assert_eq!(followed.stream.phase, Phase::LOST);
}

/// TLS 1.2 pads records of CBC suites by up to 256 bytes, and adds a vector and a tag (RFC 5246 6.2.3.2).
#[test]
fn the_longest_records_of_an_honest_peer_are_records() {
    let mut followed = Followed::new();
    let bytes = [record(22, 100), record(23, 16_384 + 16 + 48 + 256)].concat();
    followed.see(&bytes, 0, bytes.len());
    let counts = followed.stream.counts;
    assert_eq!((counts.records, counts.tls), (2, bytes.len() as u64));
}

/// Probes of a window or of life repeat a byte, or send one that the receiver throws away.
#[test]
fn probes_are_no_content() {
    let bytes = [record(22, 100), record(23, 100), record(23, 100)].concat();
    let mut followed = Followed::new();
    followed.see(&bytes, 0, 105);
    followed.see(b"x".repeat(200).as_slice(), 104, 105);
    followed.see(&bytes, 105, 106);
    followed.see(&bytes, 105, 106);
    followed.see(&bytes, 105, 315);
    let counts = followed.stream.counts;
    assert_eq!((counts.records, counts.tls, counts.repeated), (3, 315, 3));
}

#[test]
fn plaintext_is_counted_to_the_byte() {
    for text in [
        "G",
        "\x16G",
        "\x16\x03G",
        "\x16\x03\x01\x7fx",
        "GET / HTTP/1.1\r\n",
    ] {
        let mut followed = Followed::new();
        for at in 0..text.len() {
            followed.see(text.as_bytes(), at, at + 1);
        }
        let plaintext = followed.stream.counts.plaintext;
        assert_eq!(plaintext, text.len() as u64, "{text:?}");
    }
}
