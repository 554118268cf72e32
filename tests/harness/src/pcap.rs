//! What was on the wire: reads tcpdump's files and puts TCP payloads together, one direction at a time.
//!
//! Understands the classic format (<https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/>) of Ethernet in
//! this machine's byte order, which is what tcpdump writes; no IP fragments, which veth doesn't make.

mod record;

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path};

use anyhow::{Context, Result, bail};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

pub use record::{Record, records};

const MAGIC: u32 = 0xa1b2_c3d4;
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;

/// One TCP segment.
#[derive(Clone, Debug)]
pub struct Segment {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub sequence: u32,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub payload: Vec<u8>,
}

/// One direction of a connection.
#[derive(Clone, Debug)]
pub struct Flow {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// In order, without repetitions.
    pub payload: Vec<u8>,
}

/// All TCP segments of a file that may still be growing: a half-written packet at its end is left out.
///
/// # Errors
/// When the file isn't one of tcpdump's.
pub fn segments(file: &Path) -> Result<Vec<Segment>> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    if word(&bytes, 0) != Some(MAGIC) {
        bail!("{} is not a capture of this machine", file.display());
    }
    let mut rest = bytes.get(FILE_HEADER..).unwrap_or_default();
    let mut segments = Vec::new();
    while let Some(length) = word(rest, 8) {
        let end = PACKET_HEADER + usize::try_from(length)?;
        let Some(packet) = rest.get(PACKET_HEADER..end) else {
            break;
        };
        segments.extend(segment(packet));
        rest = &rest[end..];
    }
    Ok(segments)
}

/// Puts the payloads of every direction of every connection together.
///
/// # Errors
/// When a part of a direction wasn't captured.
pub fn flows(segments: &[Segment]) -> Result<Vec<Flow>> {
    let mut directions: BTreeMap<_, Vec<&Segment>> = BTreeMap::new();
    for segment in segments {
        directions
            .entry((segment.source, segment.destination))
            .or_default()
            .push(segment);
    }
    directions
        .into_iter()
        .map(|((source, destination), parts)| {
            let payload = assemble(&parts).with_context(|| format!("{source} to {destination}"))?;
            Ok(Flow {
                source,
                destination,
                payload,
            })
        })
        .collect()
}

/// Whether `text` can be read anywhere in `flows`.
#[must_use]
pub fn readable(flows: &[Flow], text: &str) -> bool {
    flows.iter().any(|flow| {
        flow.payload
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    })
}

fn assemble(parts: &[&Segment]) -> Result<Vec<u8>> {
    let start = parts
        .iter()
        .find(|part| part.syn)
        .map(|part| part.sequence.wrapping_add(1))
        .or_else(|| parts.first().map(|part| part.sequence))
        .unwrap_or_default();
    let offset = |part: &Segment| part.sequence.wrapping_sub(start);
    // Keep-alive probes lie one byte before the window: they wrap to the far end and carry nothing.
    let mut data: Vec<_> = parts
        .iter()
        .filter(|part| !part.payload.is_empty() && !part.syn && offset(part) < u32::MAX / 2)
        .collect();
    data.sort_by_key(|part| offset(part));
    let mut payload = Vec::new();
    for part in data {
        let at = usize::try_from(offset(part))?;
        if at > payload.len() {
            bail!("bytes {} to {at} are missing", payload.len());
        }
        let fresh = payload.len() - at;
        payload.extend_from_slice(part.payload.get(fresh..).unwrap_or_default());
    }
    Ok(payload)
}

fn segment(packet: &[u8]) -> Option<Segment> {
    let sliced = SlicedPacket::from_ethernet(packet).ok()?;
    let (source, destination) = match sliced.net? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
            )
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
            )
        }
        NetSlice::Arp(_) => return None,
    };
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else {
        return None;
    };
    Some(Segment {
        source: SocketAddr::new(source, tcp.source_port()),
        destination: SocketAddr::new(destination, tcp.destination_port()),
        sequence: tcp.sequence_number(),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        payload: tcp.payload().to_vec(),
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(sequence: u32, syn: bool, payload: &str) -> Segment {
        Segment {
            source: "10.0.0.1:1".parse().unwrap(),
            destination: "10.0.0.2:2".parse().unwrap(),
            sequence,
            syn,
            fin: false,
            rst: false,
            payload: payload.as_bytes().to_vec(),
        }
    }

    #[test]
    fn repeated_and_disordered_segments_become_one_payload_across_the_wrap() {
        let start = u32::MAX - 1;
        let parts = [
            part(start, true, ""),
            part(1, false, "cde"),
            part(u32::MAX, false, "ab"),
            part(0, false, "bc"),
            part(start, false, "x"),
        ];
        let flows = flows(&parts).unwrap();
        assert_eq!(flows[0].payload, b"abcde");
        assert!(readable(&flows, "bcd"));
        assert!(!readable(&flows, "bd"));
    }

    #[test]
    fn a_gap_is_an_error() {
        let parts = [part(0, true, ""), part(1, false, "a"), part(3, false, "c")];
        assert!(flows(&parts).is_err());
    }
}
