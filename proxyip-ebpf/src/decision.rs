//! What to do with a segment: decided in one room, done in the other.

use proxyip_common::counter::{Counter, DropReason, Reason};

use crate::{frame::reply::Reply, memory::Scratch};

/// What becomes of a segment for a guarded port.
pub enum Verdict {
    /// Pass, as if proxyip were not there.
    Pass,
    /// Pass, and count.
    PassCounted(Counter),
    /// Pass: a connection that is not served, its header in place.
    LeaveToKernel(Reason),
    /// The header is in this segment; the hand-off is in `scratch.hand_off`.
    First,
    /// Goes on with a header that has begun; the hand-off is in `scratch.hand_off`.
    Part,
    /// Pass, the sequence number lowered by so much.
    Translate(u16),
    /// Give the kernel a bare ACK to make the socket from, and the segment behind it.
    Introduce,
    /// Drop without a word: the peer needs no answer, or sends it again.
    Hold(Counter),
    /// Receive again, behind the payload of the connection's first segment.
    Requeue,
    /// Send back, rewritten into an answer.
    Answer(Counter, Reply),
    /// Send back, rewritten into a RST.
    Reset(Counter),
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
    /// Its connection is reset, and so is what the kernel has of it, which expects the sequence number
    /// `scratch.expected` next.
    ResetBoth,
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

    #[inline(always)]
    pub fn reset_both(reason: DropReason, scratch: &mut Scratch, expected: u32) -> Self {
        scratch.expected = expected;
        Self::Refuse(reason, Refusal::ResetBoth)
    }
}
