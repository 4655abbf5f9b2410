//! The counters that each listener has, by their indexes.

use super::Obstacle;
use crate::latency::BUCKETS;
use crate::verdict::Verdict;

/// Connections that the accept hand-off handed over, except marked ones. A connection that the stack refused
/// counts again with each try.
pub const ACCEPT: u32 = 0;
/// Of these, those that were established.
pub const ACCEPT_ESTABLISHED: u32 = 1;
/// Connections whose header was read and left in place.
pub const OBSERVE: u32 = 2;
/// Connections whose client is denied: reset, dropped or marked.
pub const DENIED: u32 = 3;
/// Connections of trusted sources that began without a header.
pub const HEADERLESS: u32 = 4;
/// Segments of other sources that begin like a header.
pub const UNTRUSTED_HEADER: u32 = 5;
/// SYNs of other sources that were refused.
pub const UNTRUSTED: u32 = 6;
/// Translated connections, by [`Obstacle`].
pub const TRANSLATE: u32 = 7;
/// What happened to connections, by [`outcome`]. An event of
/// [`Established`](crate::event::EventKind::Established) (accept, mark) counts once. So does one of
/// [`Refused`](crate::event::EventKind::Refused) (reset, drop) if its reason is
/// [final](crate::verdict::is_final). They count even if the ring had no room for the event. A refused peer that
/// tries again with a new SYN counts again; with `drop`, a denied client does not. `REFUSED_BY_AGENT` has the
/// connections that the agent refuses.
pub const OUTCOMES: u32 = TRANSLATE + Obstacle::COUNT;
/// Values of a hand-off; 0 if it was not decided yet.
pub const HAND_OFFS: u8 = 4;
/// Values of a header's version; 0 if none was read, or no good one.
pub const VERSIONS: u8 = 3;
/// Headers by the time from the handshake's SYN to the segment that completed the header; by
/// [`bucket`](crate::latency::bucket). The time starts when the SYN was answered or passed on. Only good headers
/// of connections that were let through count. Under accept, the two ends must use TCP timestamps, since nothing
/// else is remembered of the SYN. Under translate and observe, the handshake must still be remembered.
pub const LATENCY: u32 = OUTCOMES + (HAND_OFFS * VERSIONS) as u32 * Verdict::COUNT;
/// The sum of these times in nanoseconds.
pub const LATENCY_SUM: u32 = LATENCY + BUCKETS;
/// How many counters a listener has.
pub const COUNT: u32 = LATENCY_SUM + 1;

/// All counters of a listener.
pub type Counters = [u64; COUNT as usize];

/// The counter of connections with this hand-off (a [`HandOff`](crate::flow::HandOff) as its value, or 0), version of
/// the header (1, 2 or 0) and verdict. Other values count as 0.
#[inline(always)]
#[must_use]
pub const fn outcome(hand_off: u8, version: u8, verdict: Verdict) -> u32 {
    let hand_off = if hand_off < HAND_OFFS { hand_off } else { 0 };
    let version = if version < VERSIONS { version } else { 0 };
    OUTCOMES + (hand_off * VERSIONS + version) as u32 * Verdict::COUNT + verdict as u32
}

/// The entry of `REFUSED_BY_AGENT` for connections of this listener with this hand-off. The agent counts its
/// refusals there.
#[must_use]
pub fn refused_by_agent(listener: u16, hand_off: u8) -> u32 {
    let hand_off = hand_off.min(HAND_OFFS - 1);
    u32::from(listener) * u32::from(HAND_OFFS) + u32::from(hand_off)
}
