//! TCP segments out of Ethernet frames, as they cross a pod's interface.
//!
//! Reads with `bpf_skb_load_bytes`, which reaches into pages too: what is offloaded (GSO, GRO) has its headers anywhere.
//! Not TCP are, and are left alone: tunnels of any kind (their inside is another network's) and interfaces without
//! Ethernet headers, which is what tunnels have inside a pod.

use aya_ebpf::programs::TcContext;
use sealane_common::Address;

const ETHERNET: u32 = 14;
const ETHERTYPE: u32 = 12;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const PROVIDER_VLAN: u16 = 0x88a8;
const IPV6_HEADER: u32 = 40;
const TCP: u8 = 6;
/// Tags and extension headers that are looked behind at most.
const MAX_TAGS: u32 = 2;
const MAX_EXTENSIONS: u32 = 8;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// A TCP segment, perhaps one that hardware will cut into several.
pub struct Segment {
    pub source: (Address, u16),
    pub destination: (Address, u16),
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
    /// Of TCP, this many bytes, but nobody can say which: fragments, and headers that make no sense.
    Opaque(u32),
    Tcp(Segment),
}

/// An IP packet's ends, and what is between.
struct Internet {
    source: Address,
    destination: Address,
    protocol: u8,
    fragment: bool,
    /// Where the next header begins and the packet ends in the frame.
    payload: u32,
    end: u32,
}

#[inline(always)]
pub fn parse(ctx: &TcContext) -> Packet {
    let Some(internet) = internet(ctx) else {
        return Packet::Other;
    };
    if internet.protocol != TCP {
        return Packet::Other;
    }
    let left = internet.end.wrapping_sub(internet.payload);
    if internet.end > ctx.len() || internet.payload > internet.end {
        return Packet::Opaque(ctx.len());
    }
    if internet.fragment {
        return Packet::Opaque(left);
    }
    let Ok(tcp) = ctx.load::<[u8; 20]>(internet.payload as usize) else {
        return Packet::Opaque(left);
    };
    let header = u32::from(tcp[12] >> 4) * 4;
    if header < 20 || header > left {
        return Packet::Opaque(left);
    }
    Packet::Tcp(Segment {
        source: (internet.source, u16::from_be_bytes([tcp[0], tcp[1]])),
        destination: (internet.destination, u16::from_be_bytes([tcp[2], tcp[3]])),
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
    // The kernel's own word: without an Ethernet header something else stands there.
    if ethertype != u16::from_be(ctx.skb.protocol() as u16) {
        return None;
    }
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
    let total = u32::from(u16::from_be_bytes([ip[2], ip[3]]));
    Some(Internet {
        source: Address::from_v4_be(u32::from_ne_bytes([ip[12], ip[13], ip[14], ip[15]])),
        destination: Address::from_v4_be(u32::from_ne_bytes([ip[16], ip[17], ip[18], ip[19]])),
        protocol: ip[9],
        // More fragments, or an offset.
        fragment: u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0,
        payload: at + header,
        end: end(ctx, at, total),
    })
}

#[inline(always)]
fn v6(ctx: &TcContext, at: u32) -> Option<Internet> {
    let ip = ctx.load::<[u8; IPV6_HEADER as usize]>(at as usize).ok()?;
    let length = u32::from(u16::from_be_bytes([ip[4], ip[5]]));
    let total = if length == 0 { 0 } else { length + IPV6_HEADER };
    let mut internet = Internet {
        source: address(&ip, 8),
        destination: address(&ip, 24),
        protocol: ip[6],
        fragment: false,
        payload: at + IPV6_HEADER,
        end: end(ctx, at, total),
    };
    let mut extensions = 0;
    while extensions < MAX_EXTENSIONS && extension(ctx, &mut internet)? {
        extensions += 1;
    }
    Some(internet)
}

/// Steps over an extension header (RFC 8200 4); whether there was one.
#[inline(always)]
fn extension(ctx: &TcContext, internet: &mut Internet) -> Option<bool> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION: u8 = 60;
    let protocol = internet.protocol;
    if !matches!(
        protocol,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION
    ) {
        return Some(false);
    }
    let header = ctx.load::<[u8; 4]>(internet.payload as usize).ok()?;
    let length = u32::from(header[1]);
    internet.protocol = header[0];
    internet.payload += match protocol {
        FRAGMENT => 8,
        // RFC 4302 2.2.
        AUTHENTICATION => (length + 2) * 4,
        _ => (length + 1) * 8,
    };
    if protocol == FRAGMENT {
        // An offset, or more to come: one that is whole stands for nothing (RFC 8200 4.5).
        internet.fragment |= u16::from_be_bytes([header[2], header[3]]) & 0xfff9 != 0;
        return Some(!internet.fragment);
    }
    Some(true)
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
