//! The kernel programs of proxyip. Each entry point calls one function and turns its outcome into a
//! verdict and a counter; `docs/architecture.md` tells how they work together.
#![no_std]
#![no_main]
#![allow(
    clippy::cast_possible_truncation,
    reason = "lengths are bounded by what a packet can hold"
)]
#![allow(missing_docs, reason = "the entry points' documents do not survive their macros")]
#![allow(clippy::needless_pass_by_value, reason = "the macros hand over the context by value")]
#![allow(clippy::cast_possible_wrap, reason = "flags and sizes that are small")]
#![allow(
    clippy::needless_borrows_for_generic_args,
    reason = "a map's key by value would be copied to the stack, of which there are 512 bytes"
)]
#![allow(unreachable_pub, reason = "nothing is reachable from outside a program")]
#![allow(clippy::inline_always, reason = "the verifier wants one function for each program")]

mod accept;
mod checksum;
mod count;
mod event;
mod handover;
mod header;
mod intact;
mod kfunc;
mod maps;
mod options;
mod packet;
mod peername;
mod repeat;
mod reply;
mod route;
mod socket;
mod sockops;
mod syn;

use aya_ebpf::{
    bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
    helpers::bpf_redirect,
    macros::{cgroup_sock_addr, classifier, sock_ops},
    programs::{SockAddrContext, SockOpsContext, TcContext},
};
use aya_log_ebpf::{debug, trace};
use proxyip_common::{
    counter::{Counter, DropReason, KernelReason},
    event::EventKind,
};

use crate::{
    accept::{Refusal, Verdict},
    count::{count, count_drop, count_left},
    maps::Scratch,
    packet::Segment,
    reply::Reply,
};

/// TC ingress: the accept hand-off.
#[classifier]
pub fn proxyip_ingress(ctx: TcContext) -> i32 {
    let mut segment = Segment::EMPTY;
    if !packet::parse(&ctx, &mut segment) {
        return TCX_NEXT;
    }
    let Some(scratch) = maps::scratch() else {
        return TCX_DROP;
    };
    let verdict = accept::judge(&ctx, &segment, scratch);
    log(&ctx, &segment, &verdict);
    match verdict {
        Verdict::Pass | Verdict::HandOver => TCX_NEXT,
        Verdict::PassCounted(counter) => {
            count(counter);
            if counter == Counter::Bypassed {
                accept::forget(&segment, scratch);
            }
            TCX_NEXT
        }
        Verdict::LeaveToKernel(reason) => {
            count_left(reason);
            if reason != KernelReason::LivingSocket {
                accept::forget(&segment, scratch);
                event::send_scratch(scratch, EventKind::LeftToKernel, reason as u8);
            }
            TCX_NEXT
        }
        Verdict::Requeue => handover::requeue(&ctx),
        Verdict::Hold(counter) => {
            count(counter);
            TCX_DROP
        }
        Verdict::Answer(counter, reply) => {
            count(counter);
            answer(&ctx, &segment, scratch, &reply)
        }
        Verdict::Refuse(reason, refusal) => {
            count_drop(reason);
            accept::identify(&segment, scratch);
            event::send_scratch(scratch, EventKind::Refused, reason as u8);
            match refusal {
                Refusal::Drop => TCX_DROP,
                Refusal::Reset => answer(&ctx, &segment, scratch, &Reply::reset(&segment)),
            }
        }
    }
}

/// Tells of one verdict, if the agent has asked for messages; the numbers are those of the enumerations in
/// `proxyip_common::counter`.
#[inline(never)]
fn log(ctx: &TcContext, segment: &Segment, verdict: &Verdict) {
    let (peer, peer_port) = (segment.peer.0.address(), segment.peer.0.port());
    let port = segment.local.0.port();
    match verdict {
        Verdict::Pass | Verdict::HandOver | Verdict::Requeue => {}
        Verdict::PassCounted(counter) | Verdict::Hold(counter) | Verdict::Answer(counter, _) => {
            trace!(
                ctx,
                "{:i} port {} to port {}: counted {}", peer, peer_port, port, *counter as u8
            );
        }
        Verdict::LeaveToKernel(reason) => {
            debug!(
                ctx,
                "{:i} port {} to port {}: left to the kernel {}",
                peer,
                peer_port,
                port,
                *reason as u8
            );
        }
        Verdict::Refuse(reason, _) => {
            debug!(
                ctx,
                "{:i} port {} to port {}: refused {}", peer, peer_port, port, *reason as u8
            );
        }
    }
}

/// Sends the answer out of the interface that the segment came from.
#[inline(always)]
fn answer(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch, reply: &Reply) -> i32 {
    if reply.write(ctx, segment, &mut scratch.frame).is_err() {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    // SAFETY: the interface exists: the frame came from it.
    unsafe { bpf_redirect((*packet::raw(ctx)).ifindex, 0) as i32 }
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

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
