//! The accept hand-off: the handshake without a socket, then a socket that starts behind the header.
//!
//! 1. A SYN is answered here with a keyed cookie; nothing is remembered.
//! 2. The handshake's bare ACK is dropped.
//! 3. The first segment with payload brings the header. It is cut down to a bare ACK whose sequence number
//!    lies behind the header, and given to the kernel, which makes the socket from it ([`crate::handover`]).

use aya_ebpf::{btf_maps::lpm_trie::Key, programs::TcContext};
use proxyip_common::{
    cookie::{self, Check, FlowHash, MSS_V4, MSS_V6},
    counter::{Counter, DropReason, KernelReason},
    flow::{FlowKey, FlowRecord},
    settings::{NamespaceSettings, ScopedAddress, Untrusted},
};

use crate::{
    event::now,
    handover::{self, take_clone},
    maps::{FLOWS, LISTENERS, NAMESPACE, NAMESPACES, SECRETS, Scratch, TRUSTED},
    options,
    packet::{Segment, Shape, flags},
    reply::{self, Reply},
    route::is_local,
    socket::{Socket, State},
    syn::judge_syn,
};

/// What becomes of a segment for a guarded port.
pub enum Verdict {
    /// Pass, as if proxyip were not there.
    Pass,
    /// Pass, and count.
    PassCounted(Counter),
    /// Pass: a connection that this hand-off cannot serve, its header in place.
    LeaveToKernel(KernelReason),
    /// Make the kernel build the socket; what the cookie held is in `scratch.agreed`.
    HandOver,
    /// Drop without a word: the peer needs no answer, or sends it again.
    Hold(Counter),
    /// Receive again, behind the payload of the connection's first segment.
    Requeue,
    /// Send back, rewritten into an answer.
    Answer(Counter, Reply),
    /// Refuse, count and report.
    Refuse(DropReason, Refusal),
}

/// How a segment is refused.
#[derive(Clone, Copy)]
pub enum Refusal {
    /// Dropped without an answer.
    Drop,
    /// Its connection is reset.
    Reset,
}

impl Verdict {
    #[inline(always)]
    pub fn drop(reason: DropReason) -> Self {
        Self::Refuse(reason, Refusal::Drop)
    }

    #[inline(always)]
    pub fn reset(reason: DropReason) -> Self {
        Self::Refuse(reason, Refusal::Reset)
    }
}

/// Decides on one segment.
#[inline(always)]
pub fn judge(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    let clone = take_clone(ctx);
    let syn = match segment.flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) {
        flags::SYN => true,
        set if set & (flags::SYN | flags::RST) == 0 && set & flags::ACK != 0 => false,
        _ => return Verdict::Pass,
    };
    let Some(socket) = Socket::find(ctx, segment) else {
        return if syn { Verdict::PassCounted(Counter::NoListener) } else { Verdict::Pass };
    };
    let state = socket.state();
    if !syn && state != State::Listening {
        return Verdict::Pass;
    }
    let mptcp = socket.is_mptcp();
    if !syn && segment.shape == Shape::Plain {
        return match clone {
            _ if mptcp => Verdict::Pass,
            true => Verdict::drop(DropReason::PayloadWithoutSocket),
            false => match judge_ack(ctx, segment, scratch) {
                Verdict::HandOver => handover::run(ctx, segment, scratch, &socket),
                verdict => verdict,
            },
        };
    }
    drop(socket);
    let unserved = match state {
        State::Listening if mptcp => Some(KernelReason::Mptcp),
        State::Listening => None,
        State::TimeWait => Some(KernelReason::TimeWait),
        State::Connected => Some(KernelReason::LivingSocket),
    };
    judge_first(ctx, segment, scratch, unserved)
}

/// The first word of a connection, or a segment that hides what it is. `unserved` tells why this hand-off
/// cannot serve the socket that would get it.
#[inline(never)]
fn judge_first(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
    unserved: Option<KernelReason>,
) -> Verdict {
    if !is_local(ctx, segment) {
        return Verdict::Pass;
    }
    if !trusted(segment) {
        return judge_untrusted(segment);
    }
    if let Some(reason) = unserved {
        return Verdict::LeaveToKernel(reason);
    }
    match segment.shape {
        Shape::Fragment => Verdict::drop(DropReason::Fragment),
        Shape::Extended => Verdict::drop(DropReason::ExtensionHeader),
        Shape::Plain => judge_syn(ctx, segment, scratch),
    }
}

/// Whether the segment's source is trusted by its listener.
#[inline(never)]
fn trusted(segment: &Segment) -> bool {
    let source = ScopedAddress::new(segment.listener.into(), &segment.peer.0);
    TRUSTED.get(&Key::new(ScopedAddress::BITS, source)).is_some_and(|trusted| *trusted != 0)
}

#[inline(never)]
fn judge_untrusted(segment: &Segment) -> Verdict {
    const RESET: u8 = Untrusted::Reset as u8;
    const DROP: u8 = Untrusted::Drop as u8;
    match LISTENERS.get(segment.listener.into()).map(|listener| listener.untrusted) {
        Some(RESET) => Verdict::reset(DropReason::UntrustedReset),
        Some(DROP) => Verdict::drop(DropReason::UntrustedDropped),
        _ => Verdict::PassCounted(Counter::Bypassed),
    }
}

/// The settings of the namespace that this instance of the program serves.
#[inline(always)]
pub fn settings() -> Option<&'static NamespaceSettings> {
    NAMESPACES.get(NAMESPACE.load())
}

/// The MSS classes of the segment's family.
#[inline(always)]
pub fn classes(segment: &Segment) -> &'static [u16; 8] {
    if segment.ipv6 { &MSS_V6 } else { &MSS_V4 }
}

/// The flow's hash in the epoch of `cookie`, or in the current one.
#[inline(always)]
pub fn flow_hash(segment: &Segment, cookie: Option<u32>) -> Option<FlowHash> {
    let now = cookie::epoch(now());
    let epoch = match cookie {
        Some(cookie) => cookie::epoch_of(cookie, now),
        None => now,
    };
    let secret = SECRETS.get((epoch % u64::from(cookie::SECRETS)) as u32)?;
    Some(FlowHash::new(*secret, epoch, &segment.peer, &segment.local))
}

/// A segment without SYN or RST for a socket that listens.
#[inline(never)]
fn judge_ack(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> Verdict {
    // Tags are short and can be guessed: a cookie counts only from where one can have been sent to.
    if !trusted(segment) {
        return Verdict::Pass;
    }
    let cookie = segment.acknowledgment.wrapping_sub(1);
    let (Some(hash), Some(settings)) = (flow_hash(segment, Some(cookie)), settings()) else {
        return Verdict::drop(DropReason::FlowTable);
    };
    match hash.check(cookie, segment.sequence.wrapping_sub(1)) {
        Check::Foreign => Verdict::PassCounted(Counter::CookieForeign),
        Check::SameFlow => judge_early(ctx, segment, scratch, settings, &hash, cookie),
        Check::Valid(_) if segment.payload == 0 && segment.has(flags::FIN) => {
            Verdict::Answer(Counter::FinBeforeHeader, Reply::reset(segment))
        }
        Check::Valid(_) if segment.payload == 0 => Verdict::Hold(Counter::AckDeferred),
        Check::Valid(agreed) => {
            scratch.agreed = agreed;
            Verdict::HandOver
        }
    }
}

/// A segment of a handshake in flight, but not its first: a keep-alive probe, or one that overtook the header.
#[inline(always)]
fn judge_early(
    ctx: &TcContext,
    segment: &Segment,
    scratch: &mut Scratch,
    settings: &NamespaceSettings,
    hash: &FlowHash,
    cookie: u32,
) -> Verdict {
    // The flow tag is shorter still. Segments for others that have it by chance are none of ours.
    if !is_local(ctx, segment) {
        return Verdict::PassCounted(Counter::CookieForeign);
    }
    if is_under_way(segment, scratch) {
        return Verdict::Requeue;
    }
    // RFC 9293 §3.8.4: a probe's sequence number is one below the next, with or without a byte.
    let Check::Valid(agreed) = hash.check(cookie, segment.sequence) else {
        return Verdict::Hold(Counter::OutOfOrder);
    };
    if segment.payload > 1 || segment.has(flags::FIN) {
        return Verdict::Hold(Counter::OutOfOrder);
    }
    if !options::read(ctx, segment, scratch) {
        return Verdict::Hold(Counter::OutOfOrder);
    }
    let scale = if agreed.window_scale.is_some() { settings.window_scale & 15 } else { 0 };
    let window = settings.window >> scale;
    let timestamps = scratch.received.timestamps;
    let reply = reply::acknowledge(segment, &mut scratch.frame, settings, timestamps, window);
    Verdict::Answer(Counter::KeepAliveAnswered, reply)
}

/// Whether the flow was handed over a moment ago and its socket does not exist yet. A device that delivers
/// segments in batches shows them all to this program before TCP sees the first.
#[inline(always)]
fn is_under_way(segment: &Segment, scratch: &mut Scratch) -> bool {
    /// A batch is through long before; a connection that TCP refused is not waited for.
    const MOMENT_NS: u64 = 100_000_000;
    identify(segment, scratch);
    let Some(record) = FLOWS.get_ptr(&scratch.event.key) else {
        return false;
    };
    // SAFETY: an element of the map; at worst it is another flow's by now, whose times are as good.
    let (handed_over, established) =
        unsafe { ((*record).handed_over_ns, (*record).established_ns) };
    established == 0 && now().wrapping_sub(handed_over) < MOMENT_NS
}

/// Puts the segment's flow into `scratch.event`, where map operations and events take it from.
#[inline(always)]
pub fn identify(segment: &Segment, scratch: &mut Scratch) {
    let namespace = settings().map_or(0, |settings| settings.cookie);
    scratch.event.key = FlowKey::new(namespace, segment.peer, segment.local);
    scratch.event.record = FlowRecord { listener: segment.listener, ..FlowRecord::EMPTY };
}

/// Forgets what the table may still hold of this 4-tuple, and leaves its key in `scratch.event`: a record
/// that TCP never made a socket from must not be found by a connection that the kernel makes itself.
#[inline(always)]
pub fn forget(segment: &Segment, scratch: &mut Scratch) {
    identify(segment, scratch);
    let _ = FLOWS.remove(&scratch.event.key);
}
