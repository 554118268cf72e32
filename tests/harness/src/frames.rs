//! Frames of a test's own making on the wire between pods: what no honest stack sends.
//!
//! They go to Ethernet's broadcast address: programs on interfaces see them, and TCP takes no notice of them (tcp_v4_rcv,
//! net/ipv4/tcp_ipv4.c, PACKET_HOST only), so that no kernel answers. Its checksum is left out for the same reason; a bridge looks at that of IPv4 (br_validate_ipv4).

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{enter, pod::Pod, world::World};

const LIMIT: Duration = Duration::from_secs(10);
/// Writes lines of hexadecimal digits to a packet socket (packet(7)) with this protocol.
const SEND: &str = "\
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(('eth0', int(sys.argv[2])))
for frame in open(sys.argv[1]):
    wire.send(bytes.fromhex(frame))
";
const TCP: u8 = 6;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;
pub const URG: u8 = 32;

/// A TCP segment in a frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub sequence: u32,
    pub flags: u8,
    pub payload: Vec<u8>,
    /// VLAN tags around it.
    pub tags: usize,
    /// IPv6 extension headers before it; of IPv4 the options are filled up if there are any.
    pub extensions: usize,
    /// Whether it says that it is the first of several fragments.
    pub is_fragment: bool,
}

/// Sends frames from a pod, in order. `protocol` is what the sender tells its kernel of them: 0 leaves it to that.
///
/// # Errors
/// When the pod can't send them.
pub fn send(world: &World, pod: &Pod, protocol: u16, frames: &[Frame]) -> Result<()> {
    let file = world.scratch("frames")?.join("frames");
    let mut lines = String::new();
    for frame in frames {
        for byte in frame.bytes() {
            write!(lines, "{byte:02x}")?;
        }
        lines.push('\n');
    }
    fs::write(&file, lines)?;
    let mut command = enter::command(Some(&pod.netns.path()), None, "python3")?;
    command
        .args(["-c", SEND])
        .arg(&file)
        .arg(protocol.to_be().to_string());
    pod.run("frames", command, LIMIT)?
        .success()
        .context("frames")?;
    Ok(())
}

impl Frame {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0xff; 6];
        bytes.extend([2, 0, 0, 0, 0, 1]);
        for tag in 1..=self.tags {
            bytes.extend([0x81, 0, 0, u8::try_from(tag).unwrap_or(1)]);
        }
        let segment = self.segment();
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend([8, 0]);
                let header: u8 = if self.extensions > 0 { 60 } else { 20 };
                let at = bytes.len();
                bytes.extend([0x40 | (header / 4), 0]);
                bytes.extend(length(usize::from(header) + segment.len()));
                bytes.extend([
                    0,
                    1,
                    if self.is_fragment { 0x20 } else { 0 },
                    0,
                    64,
                    TCP,
                    0,
                    0,
                ]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                // No operation, forty times.
                bytes.extend(vec![1; usize::from(header) - 20]);
                let sum = checksum(&bytes[at..]).to_be_bytes();
                bytes[at + 10..at + 12].copy_from_slice(&sum);
            }
            (source, destination) => {
                let (next, headers) = self.headers();
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                bytes.extend(length(headers.len() + segment.len()));
                bytes.extend([next, 64]);
                for address in [source, destination] {
                    bytes.extend(v6(address));
                }
                bytes.extend(headers);
            }
        }
        bytes.extend(segment);
        bytes
    }

    /// IPv6's, and the first one's number.
    fn headers(&self) -> (u8, Vec<u8>) {
        let mut kinds = vec![DESTINATION_OPTIONS; self.extensions];
        if self.is_fragment {
            kinds.push(FRAGMENT);
        }
        kinds.push(TCP);
        let each = kinds.windows(2).flat_map(|pair| match pair {
            [FRAGMENT, next] => [*next, 0, 0, 1, 0, 0, 0, 7],
            // Padding (RFC 8200 4.2).
            [_, next] => [*next, 0, 1, 4, 0, 0, 0, 0],
            _ => [0; 8],
        });
        (kinds[0], each.collect())
    }

    fn segment(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source.port().to_be_bytes());
        bytes.extend(self.destination.port().to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend([5 << 4, self.flags, 0xff, 0xff, 0, 0, 0, 1]);
        bytes.extend(&self.payload);
        bytes
    }
}

/// RFC 791 3.1.
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2);
    let sum: u32 = words
        .map(|word| (u32::from(word[0]) << 8) | u32::from(word[1]))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0)
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
