//! What to do with a segment: decided in one room, done in the other.

use proxyip_common::{
    counter::{Counter, DropReason, Obstacle},
    verdict::Verdict,
};

use crate::{
    frame::{reply::Reply, segment::Segment},
    kernel::programs::TcContext,
    state::{memory::Memory, sockets::Socket},
};

/// What to do with a segment for a guarded port.
pub enum Decision {
    /// Pass, as if proxyip were not there.
    Pass,
    /// Pass, and count.
    PassCounted(Counter),
    /// Pass unserved: the application will see the raw header.
    LeaveToKernel(Obstacle),
    /// The header is in this segment; the hand-off is in `memory.hand_off`.
    First,
    /// Goes on with a header that has begun; the hand-off is in `memory.hand_off`.
    Part,
    /// Pass, the sequence number lowered by so much.
    Translate(u16),
    /// Give the kernel a bare ACK to make the socket from, and the segment behind it.
    Introduce,
    /// Drop silently: the peer retransmits, or needs no reply.
    Hold(Counter),
    /// Receive again, behind the payload of the connection's first segment.
    Requeue,
    /// Send back, rewritten into an answer.
    Answer(Counter, Reply),
    /// Send back, rewritten into a RST.
    Reset(Counter),
    /// Refuse, count and report; end as [`Ending::of`] the reason says.
    Refuse(DropReason),
    /// The same; reset the connection, and what the kernel has of it, which expects the sequence number
    /// `memory.expected` next.
    RefuseBoth(DropReason),
}

/// How a refused segment ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Dropped without an answer.
    Silent,
    /// Its connection is reset.
    Reset,
}

impl Ending {
    /// The ending that goes with a reason: what counters and events say of it is what happens.
    #[inline(always)]
    pub fn of(reason: DropReason) -> Self {
        match Verdict::on_refusal(reason) {
            Verdict::Reset => Self::Reset,
            Verdict::Accept | Verdict::Mark | Verdict::Drop => Self::Silent,
        }
    }
}

impl Decision {
    /// Refuses a connection of which the kernel has a part, and expects this sequence number next.
    #[inline(always)]
    pub fn reset_both(reason: DropReason, memory: &Memory, expected: u32) -> Self {
        memory.expected.set(expected);
        Self::RefuseBoth(reason)
    }
}

/// What must be done to a packet before the decision on it is known, because it may fail. Those who decide are given it
/// as a type, so that they know nothing of those who act.
pub trait Act {
    /// Makes the connection from the first segment, whose header has been read.
    ///
    /// # Errors
    /// What to do with the segment instead.
    fn hand_over(
        ctx: &TcContext,
        segment: &Segment,
        memory: &Memory,
        socket: &Socket,
    ) -> Result<(), Decision>;

    /// Takes from a SYN what would let its connection begin without a header; false if that failed.
    fn open(ctx: &TcContext, segment: &Segment, memory: &Memory) -> bool;
}
