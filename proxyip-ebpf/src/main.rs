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
mod egress;
mod event;
mod first;
mod handover;
mod header;
mod intact;
mod judge;
mod kfunc;
mod maps;
mod observe;
mod options;
mod packet;
mod peername;
mod platform;
mod reply;
mod route;
mod socket;
mod sockops;
mod syn;
mod translate;

use aya_ebpf::{
    bindings::tcx_action_base::{TCX_DROP, TCX_NEXT},
    helpers::{bpf_clone_redirect, bpf_redirect},
    macros::{cgroup_sock_addr, classifier, sock_ops},
    programs::{SockAddrContext, SockOpsContext, TcContext},
};
use aya_log_ebpf::{debug, trace};
use proxyip_common::{
    counter::{Counter, DropReason, Reason},
    event::EventKind,
};

use crate::{
    count::{count, count_drop, count_left},
    judge::{Refusal, Verdict},
    maps::Scratch,
    packet::Segment,
    platform::{Basic, Modern, Platform},
    reply::Reply,
};

/// TC ingress, Linux 6.9 and later.
#[classifier]
pub fn proxyip_ingress(ctx: TcContext) -> i32 {
    ingress::<Modern>(&ctx)
}

/// TC ingress, Linux 5.10 and later: without the accept hand-off.
#[classifier]
pub fn proxyip_ingress_basic(ctx: TcContext) -> i32 {
    ingress::<Basic>(&ctx)
}

/// TC egress.
#[classifier]
pub fn proxyip_egress(ctx: TcContext) -> i32 {
    if egress::run(&ctx) {
        return TCX_NEXT;
    }
    count_drop(DropReason::TranslateFailed);
    TCX_DROP
}

#[inline(always)]
fn ingress<P: Platform>(ctx: &TcContext) -> i32 {
    let (Some(segment), Some(scratch)) = (maps::incoming(), maps::scratch()) else {
        return TCX_DROP;
    };
    if !packet::parse(ctx, segment) {
        return TCX_NEXT;
    }
    let mut verdict = judge::judge::<P>(ctx, segment, scratch);
    if let Verdict::Introduce = verdict {
        verdict = match handover::introduce(ctx, segment, scratch) {
            Ok(()) => Verdict::Pass,
            Err(verdict) => verdict,
        };
    }
    log(ctx, segment, &verdict);
    carry_out(ctx, segment, scratch, verdict)
}

/// Does what the verdict says.
#[inline(always)]
fn carry_out(
    ctx: &TcContext,
    segment: &mut Segment,
    scratch: &mut Scratch,
    verdict: Verdict,
) -> i32 {
    match verdict {
        Verdict::Pass | Verdict::First | Verdict::Introduce => TCX_NEXT,
        Verdict::Translate(shift) => {
            if translate::lower(ctx, segment, shift) {
                return TCX_NEXT;
            }
            count_drop(DropReason::TranslateFailed);
            TCX_DROP
        }
        Verdict::PassCounted(counter) => {
            count(counter);
            if counter == Counter::Bypassed {
                judge::forget(segment, scratch);
            }
            TCX_NEXT
        }
        Verdict::LeaveToKernel(reason) => {
            count_left(reason);
            if reason != Reason::LivingSocket {
                judge::forget(segment, scratch);
                event::send_scratch(scratch, EventKind::LeftToKernel, reason as u8);
            }
            TCX_NEXT
        }
        Verdict::Requeue => handover::requeue(ctx),
        Verdict::Hold(counter) => {
            count(counter);
            TCX_DROP
        }
        Verdict::Answer(counter, reply) => {
            count(counter);
            answer(ctx, segment, scratch, &reply)
        }
        Verdict::Refuse(reason, refusal) => {
            count_drop(reason);
            judge::identify(segment, scratch);
            scratch.event.record.hand_off = scratch.hand_off;
            event::send_scratch(scratch, EventKind::Refused, reason as u8);
            refuse(ctx, segment, scratch, refusal)
        }
    }
}

#[inline(always)]
fn refuse(ctx: &TcContext, segment: &mut Segment, scratch: &mut Scratch, refusal: Refusal) -> i32 {
    let reset = Reply::reset(segment);
    match refusal {
        Refusal::Drop => TCX_DROP,
        Refusal::Reset => answer(ctx, segment, scratch, &reset),
        Refusal::ResetBoth => reset_both(ctx, segment, scratch, &reset),
    }
}

/// Sends a RST to the peer, and passes one on in its name.
#[inline(never)]
fn reset_both(ctx: &TcContext, segment: &mut Segment, scratch: &mut Scratch, reset: &Reply) -> i32 {
    let skb = packet::raw(ctx);
    let written = reset.write(ctx, segment, &mut scratch.frame).is_ok();
    // SAFETY: the interface exists: the frame came from it.
    if !written || unsafe { bpf_clone_redirect(skb, (*skb).ifindex, 0) } != 0 {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    let reset = Reply::bare(segment.sequence, 0, packet::flags::RST);
    segment.turn_round();
    if reset.write(ctx, segment, &mut scratch.frame).is_err() {
        count_drop(DropReason::ReplyFailed);
        return TCX_DROP;
    }
    TCX_NEXT
}

/// Tells of one verdict, if the agent has asked for messages; the numbers are those of the enumerations in
/// `proxyip_common::counter`.
#[inline(never)]
fn log(ctx: &TcContext, segment: &Segment, verdict: &Verdict) {
    let (peer, peer_port) = (segment.peer.0.address(), segment.peer.0.port());
    let port = segment.local.0.port();
    match verdict {
        Verdict::Pass
        | Verdict::First
        | Verdict::Introduce
        | Verdict::Translate(_)
        | Verdict::Requeue => {}
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
