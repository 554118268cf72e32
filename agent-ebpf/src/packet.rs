//! TCP segments out of Ethernet frames, as they cross a pod's interface.
//!
//! Reads with `bpf_skb_load_bytes`, which reaches into pages too: what is offloaded (GSO, GRO) has its headers anywhere.
//! Not TCP are, and are left alone: tunnels of any kind (their inside is another network's) and interfaces without
//! Ethernet headers, which is what tunnels have inside a pod. What the kernel notes of a packet's protocol is not asked:
//! whoever writes to a packet socket says there what they like (packet_snd, net/packet/af_packet.c), and the receiver
//! goes by the header.

use aya_ebpf::{EbpfContext as _, cty::c_void, helpers::bpf_loop, programs::TcContext};
use sealane_common::Address;

const ETHERNET: u32 = 14;
const ETHERTYPE: u32 = 12;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const PROVIDER_VLAN: u16 = 0x88a8;
const IPV6_HEADER: u32 = 40;
const TCP: u8 = 6;
/// Tags that are looked behind.
const MAX_TAGS: u32 = 2;
/// As many as fit into a packet.
const MAX_EXTENSIONS: u32 = 8192;

/// Extension headers (RFC 8200 4, RFC 4302).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;
pub const URG: u8 = 32;

/// A TCP segment, perhaps one that hardware will cut into several.
pub struct Segment {
    pub ends: Ends,
    pub sequence: u32,
    pub acknowledged: u32,
    pub flags: u8,
    /// Where its payload begins in the frame.
    pub payload: u32,
    pub length: u32,
}

pub enum Packet {
    /// Nothing to follow.
    Other,
    /// Of TCP, or perhaps, this many bytes, but nobody can say which: fragments, and headers that make no sense.
    Opaque(u32),
    /// As `Opaque`, but it has the ports: a first fragment.
    First(Ends, u32),
    Tcp(Segment),
}

pub struct Ends {
    pub source: (Address, u16),
    pub destination: (Address, u16),
}

/// An IP packet's ends, and what is between.
struct Internet {
    source: Address,
    destination: Address,
    protocol: u8,
    part: Part,
    /// Where the next header begins and the packet ends in the frame.
    payload: u32,
    end: u32,
}

impl Segment {
    /// Nothing begins, ends or is carried.
    #[inline(always)]
    pub fn is_mere_acknowledgement(&self) -> bool {
        self.length == 0 && self.flags & (SYN | FIN | RST | URG) == 0
    }
}

impl Internet {
    #[inline(always)]
    fn ends(&self, ports: [u8; 4]) -> Ends {
        Ends {
            source: (self.source, u16::from_be_bytes([ports[0], ports[1]])),
            destination: (self.destination, u16::from_be_bytes([ports[2], ports[3]])),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    /// The first fragment of several.
    First,
    Later,
}

impl Part {
    #[inline(always)]
    fn new(offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First,
            _ => Self::Later,
        }
    }
}

#[inline(always)]
pub fn parse(ctx: &TcContext) -> Packet {
    let Some(internet) = internet(ctx) else {
        return Packet::Other;
    };
    // Behind more extension headers than are looked at, or in a fragment's own, may be TCP.
    if internet.protocol != TCP && !is_extension(internet.protocol) {
        return Packet::Other;
    }
    if internet.end > ctx.len() || internet.payload > internet.end {
        return Packet::Opaque(ctx.len());
    }
    let left = internet.end.wrapping_sub(internet.payload);
    if internet.protocol != TCP || internet.part == Part::Later {
        return Packet::Opaque(left);
    }
    tcp(ctx, &internet, left)
}

#[inline(always)]
fn tcp(ctx: &TcContext, internet: &Internet, left: u32) -> Packet {
    if internet.part == Part::First {
        // Every fragment but the last has eight bytes at least.
        let Ok(ports) = ctx.load::<[u8; 4]>(internet.payload as usize) else {
            return Packet::Opaque(left);
        };
        return Packet::First(internet.ends(ports), left);
    }
    let Ok(tcp) = ctx.load::<[u8; 20]>(internet.payload as usize) else {
        return Packet::Opaque(left);
    };
    let header = u32::from(tcp[12] >> 4) * 4;
    if header < 20 || header > left {
        return Packet::Opaque(left);
    }
    Packet::Tcp(Segment {
        ends: internet.ends([tcp[0], tcp[1], tcp[2], tcp[3]]),
        sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
        acknowledged: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
        flags: tcp[13],
        payload: internet.payload + header,
        length: left - header,
    })
}

#[inline(always)]
fn internet(ctx: &TcContext) -> Option<Internet> {
    let mut ethertype = half(ctx, ETHERTYPE)?;
    let mut at = ETHERNET;
    let mut tags = 0;
    while tags < MAX_TAGS && (ethertype == VLAN || ethertype == PROVIDER_VLAN) {
        ethertype = half(ctx, at + 2)?;
        at += 4;
        tags += 1;
    }
    match ethertype {
        IPV4 => v4(ctx, at),
        IPV6 => v6(ctx, at),
        _ => None,
    }
}

#[inline(always)]
fn v4(ctx: &TcContext, at: u32) -> Option<Internet> {
    let ip = ctx.load::<[u8; 20]>(at as usize).ok()?;
    let header = u32::from(ip[0] & 0xf) * 4;
    if ip[0] >> 4 != 4 || header < 20 {
        return None;
    }
    let total = u32::from(u16::from_be_bytes([ip[2], ip[3]]));
    let fragment = u16::from_be_bytes([ip[6], ip[7]]);
    Some(Internet {
        source: Address::from_v4_be(u32::from_ne_bytes([ip[12], ip[13], ip[14], ip[15]])),
        destination: Address::from_v4_be(u32::from_ne_bytes([ip[16], ip[17], ip[18], ip[19]])),
        protocol: ip[9],
        part: Part::new(fragment & 0x1fff, fragment & 0x2000 != 0),
        payload: at + header,
        end: end(ctx, at, total),
    })
}

#[inline(always)]
fn v6(ctx: &TcContext, at: u32) -> Option<Internet> {
    let ip = ctx.load::<[u8; IPV6_HEADER as usize]>(at as usize).ok()?;
    if ip[0] >> 4 != 6 {
        return None;
    }
    let length = u32::from(u16::from_be_bytes([ip[4], ip[5]]));
    let total = if length == 0 { 0 } else { length + IPV6_HEADER };
    let mut chain = Chain {
        ctx: TcContext::new(ctx.as_ptr().cast()),
        at: at + IPV6_HEADER,
        protocol: ip[6],
        part: Part::Whole,
    };
    if is_extension(chain.protocol) {
        let chain: *mut Chain = &raw mut chain;
        // One body for all steps, as for records. SAFETY: the helper hands the callback what it is given here.
        let _ = unsafe { bpf_loop(MAX_EXTENSIONS, extension as *mut c_void, chain.cast(), 0) };
    }
    Some(Internet {
        source: address(&ip, 8),
        destination: address(&ip, 24),
        protocol: chain.protocol,
        part: chain.part,
        payload: chain.at,
        end: end(ctx, at, total),
    })
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION
    )
}

/// The way over extension headers.
struct Chain {
    ctx: TcContext,
    at: u32,
    protocol: u8,
    part: Part,
}

impl Chain {
    /// Steps over one (RFC 8200 4); whether there may be more.
    #[inline(always)]
    fn step(&mut self) -> bool {
        let protocol = self.protocol;
        if !is_extension(protocol) || self.part != Part::Whole {
            return false;
        }
        let Ok(header) = self.ctx.load::<[u8; 4]>(self.at as usize) else {
            return false;
        };
        let length = u32::from(header[1]);
        self.protocol = header[0];
        self.at += match protocol {
            FRAGMENT => 8,
            // RFC 4302 2.2.
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        if protocol == FRAGMENT {
            // One that is whole stands for nothing (RFC 8200 4.5).
            let fragment = u16::from_be_bytes([header[2], header[3]]);
            self.part = Part::new(fragment & 0xfff8, fragment & 1 != 0);
        }
        true
    }
}

/// For `bpf_loop`: 0 goes on, 1 ends.
///
/// # Safety
/// `chain` is the one that `v6` has given.
unsafe extern "C" fn extension(_: u64, chain: *mut c_void) -> u64 {
    // SAFETY: by the caller's promise; nobody else has it while the loop runs.
    let chain = unsafe { &mut *chain.cast::<Chain>() };
    u64::from(!chain.step())
}

/// Frames are padded; those that are too long for their header say 0 (include/net/ipv6.h, BIG TCP).
#[inline(always)]
fn end(ctx: &TcContext, at: u32, total: u32) -> u32 {
    if total == 0 { ctx.len() } else { at + total }
}

#[inline(always)]
fn address(ip: &[u8; IPV6_HEADER as usize], at: usize) -> Address {
    let mut address = [0; 16];
    let mut index = 0;
    while index < 16 {
        address[index] = ip[at + index];
        index += 1;
    }
    Address(address)
}

#[inline(always)]
fn half(ctx: &TcContext, at: u32) -> Option<u16> {
    let bytes = ctx.load::<[u8; 2]>(at as usize).ok()?;
    Some(u16::from_be_bytes(bytes))
}
