//! Entry points of Sealane's eBPF programs; each hook has its own file, `maps` the shared state.
//!
//! One body serves IPv4 and IPv6: `context` reads either into an [`Address`](sealane_common::Address).
#![feature(asm_experimental_arch)]
#![no_std]
#![no_main]

mod connect;
mod context;
mod events;
mod lookup;
mod maps;
mod names;
mod packet;
mod release;
mod sockets;
mod wire;

use aya_ebpf::{
    macros::{cgroup_sock, cgroup_sock_addr, classifier, sk_lookup, sock_ops},
    programs::{SkLookupContext, SockAddrContext, SockContext, SockOpsContext, TcContext},
};
use context::Family;
use sealane_common::Way;

#[cgroup_sock_addr(connect4)]
fn connect4(ctx: SockAddrContext) -> i32 {
    connect::connect(&ctx, Family::V4)
}

#[cgroup_sock_addr(connect6)]
fn connect6(ctx: SockAddrContext) -> i32 {
    connect::connect(&ctx, Family::V6)
}

#[cgroup_sock_addr(getpeername4)]
fn getpeername4(ctx: SockAddrContext) -> i32 {
    names::peer(&ctx, Family::V4)
}

#[cgroup_sock_addr(getpeername6)]
fn getpeername6(ctx: SockAddrContext) -> i32 {
    names::peer(&ctx, Family::V6)
}

#[cgroup_sock_addr(getsockname4)]
fn getsockname4(ctx: SockAddrContext) -> i32 {
    names::own(&ctx, Family::V4)
}

#[cgroup_sock_addr(getsockname6)]
fn getsockname6(ctx: SockAddrContext) -> i32 {
    names::own(&ctx, Family::V6)
}

#[cgroup_sock(sock_release)]
fn sock_release(ctx: SockContext) -> i32 {
    release::release(&ctx)
}

#[sock_ops]
fn tcp_states(ctx: SockOpsContext) -> u32 {
    sockets::sockops(&ctx)
}

#[sk_lookup]
fn inbound(ctx: SkLookupContext) -> u32 {
    lookup::steer(&ctx)
}

#[classifier]
fn wire_sent(mut ctx: TcContext) -> i32 {
    wire::hand_on(&mut ctx, Way::SENT as u32)
}

#[classifier]
fn wire_received(mut ctx: TcContext) -> i32 {
    wire::hand_on(&mut ctx, Way::RECEIVED as u32)
}

#[classifier]
fn wire(ctx: TcContext) -> i32 {
    wire::watch(&ctx)
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // The verifier proves that this is unreachable; nothing that panics is compiled in.
    loop {}
}
