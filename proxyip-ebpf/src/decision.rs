//! What to do with a segment: decided in one room, done in the other.

use proxyip_common::{
    counter::{Counter, DropReason, Obstacle},
    verdict::Verdict,
};

use crate::{
    frame::{reply::Reply, segment::Segment, tcp::Seq},
    kernel::packet::Buffered,
    state::memory::Memory,
};

/// What to do with a segment for a guarded port.
pub enum Decision {
    /// Pass, as if proxyip were not there.
    Pass,
    /// Pass, and count.
    PassCounted(Counter),
    /// Pass unserved: the application will see the raw header.
    LeaveToKernel(Obstacle),
    /// Pass, the sequence number lowered by so much.
    Translate(u32),
    /// Give the kernel a bare ACK with this sequence number to make the socket from, and the segment behind it.
    Introduce(Seq),
    /// Drop silently: the peer retransmits, or needs no reply.
    Hold(Counter),
    /// Receive again, behind the payload of the connection's first segment.
    Requeue,
    /// Send back, rewritten into an acknowledgment in the name of a socket that does not exist yet.
    Acknowledge(Counter, Acknowledgment),
    /// Send back, rewritten into an answer.
    Answer(Counter, Reply),
    /// Send back, rewritten into a RST.
    Reset(Counter),
    /// Refuse, count and report; end as [`Ending::of`] the reason says.
    Refuse(DropReason),
    /// The same; reset the connection, and what the kernel has of it, which expects this sequence number next.
    RefuseBoth(DropReason, Seq),
}

/// What to acknowledge.
#[derive(Clone, Copy)]
pub struct Acknowledgment {
    /// The sequence number that is expected next.
    pub upto: Seq,
    /// The two ends do not scale windows.
    pub unscaled: bool,
}

impl Decision {
    /// Acknowledges, and counts.
    ///
    /// Not inlined: else LLVM writes the fields of several decisions by one store, from a register that not all have set.
    /// The verifier refuses that.
    #[inline(never)]
    pub fn acknowledge(counter: Counter, acknowledgment: Acknowledgment) -> Self {
        Self::Acknowledge(counter, acknowledgment)
    }
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

/// What must be done to a packet before the decision on it is known, because it may fail. Those who decide are given it
/// as a type, so that they know nothing of those who act.
pub trait Act {
    /// The packets that it acts on.
    type Packet: Buffered;

    /// Makes the connection from the first segment, whose header has been read.
    ///
    /// # Errors
    /// What to do with the segment instead.
    fn hand_over(packet: &Self::Packet, segment: &Segment, memory: &Memory)
    -> Result<(), Decision>;

    /// Takes from a SYN what would let its connection begin without a header; false if that failed.
    fn open(packet: &Self::Packet, segment: &Segment, memory: &Memory) -> bool;
}
