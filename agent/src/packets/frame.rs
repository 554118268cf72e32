//! What a frame says of who sends it to whom.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};

/// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK` (include/uapi/linux/if_arp.h): their frames have Ethernet's header.
const ETHERNET: [u16; 2] = [1, 772];

/// The heads of a frame, as far as they are there and understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub is_arp: bool,
    /// Source and destination.
    pub addresses: Option<[IpAddr; 2]>,
    /// Of what IP carries, behind extension headers.
    pub protocol: Option<u8>,
    /// Source and destination, of TCP and UDP.
    pub ports: Option<[u16; 2]>,
    pub flags: Option<Flags>,
    /// Bytes behind the last header that is understood.
    pub payload: usize,
}

/// One way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub protocol: u8,
    /// On the pod's loopback, where nothing is on the wire.
    pub is_loopback: bool,
}

/// Of a TCP segment, as tcpdump writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u8);

impl Frame {
    /// `ethernet`: it begins with Ethernet's header, not with IP's.
    #[must_use]
    pub fn parse(bytes: &[u8], ethernet: bool) -> Self {
        let parsed = match ethernet {
            true => LaxSlicedPacket::from_ethernet(bytes).ok(),
            false => LaxSlicedPacket::from_ip(bytes).ok(),
        };
        parsed.map_or_else(Self::default, |parsed| Self::of(&parsed))
    }

    /// `None` of what has no ports.
    #[must_use]
    pub fn segment(&self, is_loopback: bool) -> Option<Segment> {
        let ([from, to], [from_port, to_port]) = (self.addresses?, self.ports?);
        Some(Segment {
            source: SocketAddr::new(from, from_port),
            destination: SocketAddr::new(to, to_port),
            protocol: self.protocol?,
            is_loopback,
        })
    }

    fn of(parsed: &LaxSlicedPacket<'_>) -> Self {
        let addresses = match &parsed.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                Some([header.source_addr(), header.destination_addr()].map(IpAddr::V4))
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                Some([header.source_addr(), header.destination_addr()].map(IpAddr::V6))
            }
            Some(LaxNetSlice::Arp(_)) | None => None,
        };
        let ip = parsed.ip_payload();
        let (ports, payload) = match &parsed.transport {
            Some(TransportSlice::Tcp(tcp)) => (
                Some([tcp.source_port(), tcp.destination_port()]),
                tcp.payload().len(),
            ),
            Some(TransportSlice::Udp(udp)) => (
                Some([udp.source_port(), udp.destination_port()]),
                udp.payload().len(),
            ),
            _ => (None, ip.map_or(0, |ip| ip.payload.len())),
        };
        Self {
            is_arp: matches!(parsed.net, Some(LaxNetSlice::Arp(_))),
            addresses,
            protocol: ip.map(|ip| ip.ip_number.0),
            ports,
            flags: match &parsed.transport {
                Some(TransportSlice::Tcp(tcp)) => Some(Flags::of(tcp)),
                _ => None,
            },
            payload,
        }
    }
}

/// Whether frames of such an interface begin with Ethernet's header. Others begin with IP's.
pub(super) fn has_ethernet(hardware: u16) -> bool {
    ETHERNET.contains(&hardware)
}

impl Flags {
    fn of(tcp: &TcpSlice<'_>) -> Self {
        let bits = [
            tcp.fin(),
            tcp.syn(),
            tcp.rst(),
            tcp.psh(),
            tcp.ack(),
            tcp.urg(),
        ];
        let set = bits.iter().zip(0..).filter(|(set, _)| **set);
        Self(set.fold(0, |flags, (_, bit)| flags | 1 << bit))
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = ["F", "S", "R", "P", ".", "U"];
        let mut set = letters
            .iter()
            .zip(0..)
            .filter(|(_, bit)| self.0 & 1 << bit != 0);
        set.try_for_each(|(letter, _)| f.write_str(letter))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    pub(in crate::packets) fn tcp(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let ether = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ether.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => ether.ipv6(from.octets(), to.octets(), 64),
            _ => panic!("two families"),
        };
        let mut bytes = Vec::new();
        let tcp = ip.tcp(from.port(), to.port(), 1, 1000).syn();
        tcp.write(&mut bytes, payload).unwrap();
        bytes
    }

    #[test]
    fn both_families_tell_who_sends_to_whom() {
        for (from, to) in [
            ("10.0.0.1:1", "10.0.0.2:80"),
            ("[fd00::1]:1", "[fd00::2]:80"),
        ] {
            let frame = Frame::parse(&tcp(from, to, b"abc"), true);
            let segment = frame.segment(false).unwrap();
            assert_eq!(segment.source.to_string(), from);
            assert_eq!(segment.destination.to_string(), to);
            assert_eq!((segment.protocol, frame.payload), (6, 3));
            assert_eq!(frame.flags.unwrap().to_string(), "S");
        }
    }

    #[test]
    fn interfaces_without_ethernet_begin_with_ip() {
        let bytes = tcp("10.0.0.1:1", "10.0.0.2:80", b"");
        let without = &bytes[14..];
        assert!(Frame::parse(without, false).segment(false).is_some());
    }

    #[test]
    fn nothing_that_comes_is_too_short_or_too_strange() {
        let bytes = tcp("[fd00::1]:1", "[fd00::2]:80", b"abc");
        for end in 0..bytes.len() {
            let _ = Frame::parse(&bytes[..end], true);
            let _ = Frame::parse(&bytes[..end], false);
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let mut bytes = bytes.clone();
            for _ in 0..4 {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            let _ = Frame::parse(&bytes, true);
        }
    }
}
