//! The entry points of the kernel programs. Each calls one function and returns its verdict.
#![allow(missing_docs, reason = "the entry points' documents do not survive their macros")]
#![allow(clippy::needless_pass_by_value, reason = "the macros hand over the context by value")]
#![allow(unreachable_pub, reason = "nothing is reachable from outside a program")]

use aya_ebpf::{
    macros::{
        cgroup_sock_addr, cgroup_sockopt, classifier, sock_ops, socket_filter, xdp as at_xdp,
    },
    programs::{
        SkBuffContext, SockAddrContext, SockOpsContext, SockoptContext, TcContext, XdpContext,
    },
};
use proxyip_ebpf::{
    hooks::{egress, ingress, iptables, lookups, peername, sockops, sockopt, xdp},
    kernel::platform::{Basic, Modern},
};

/// TC ingress, Linux 6.9 and later.
#[classifier]
pub fn proxyip_ingress(ctx: TcContext) -> i32 {
    ingress::run::<Modern>(&ctx)
}

/// TC ingress, Linux 5.10 and later: without the accept hand-off.
#[classifier]
pub fn proxyip_ingress_basic(ctx: TcContext) -> i32 {
    ingress::run::<Basic>(&ctx)
}

/// TC egress.
#[classifier]
pub fn proxyip_egress(ctx: TcContext) -> i32 {
    egress::run(&ctx)
}

/// XDP, Linux 6.9 and later: in front of the ingress program, which can do without it.
#[at_xdp(frags)]
pub fn proxyip_xdp(ctx: XdpContext) -> u32 {
    xdp::run(&ctx)
}

/// XDP behind the driver. There, a program for several buffers makes the kernel copy the frame, and the copy lacks the length of
/// its Ethernet header (seen on 6.18). Programs at TC do not find it then.
#[at_xdp]
pub fn proxyip_xdp_generic(ctx: XdpContext) -> u32 {
    xdp::run(&ctx)
}

/// Attached to nothing: the agent runs it to look up many flows at once.
#[classifier]
pub fn proxyip_lookup(ctx: TcContext) -> i32 {
    lookups::answer(&ctx);
    0
}

/// Follows connections handed over through their life.
#[sock_ops]
pub fn proxyip_sockops(ctx: SockOpsContext) -> u32 {
    sockops::run(&ctx);
    1
}

/// `accept()` and `getpeername()` on `AF_INET` sockets.
#[cgroup_sock_addr(getpeername4)]
pub fn proxyip_getpeername4(ctx: SockAddrContext) -> i32 {
    peername::v4(&ctx);
    1
}

/// `accept()` and `getpeername()` on `AF_INET6` sockets.
#[cgroup_sock_addr(getpeername6)]
pub fn proxyip_getpeername6(ctx: SockAddrContext) -> i32 {
    peername::v6(&ctx);
    1
}

/// `getsockopt()` on any socket.
#[cgroup_sockopt(getsockopt)]
pub fn proxyip_getsockopt(ctx: SockoptContext) -> i32 {
    sockopt::run(&ctx);
    1
}

/// Whether the client of a packet is in a named set, for rules of iptables (`xt_bpf`).
#[socket_filter]
pub fn proxyip_set(ctx: SkBuffContext) -> i64 {
    i64::from(iptables::has_client(ctx.skb.skb))
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
