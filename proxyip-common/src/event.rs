//! What the kernel programs tell the agent, over one ring buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::flow::{FlowKey, FlowRecord, HandOff};

/// Bytes of the ring buffer: some 26,000 events, a second's worth of a busy node.
pub const RING_SIZE: usize = 4 << 20;

/// What an [`Event`] is about.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A header with TLVs was consumed; its bytes follow the event. Precedes [`EventKind::Established`].
    Header = 1,
    /// A connection handed over was established.
    Established = 2,
    /// An established connection has ended.
    Closed = 3,
    /// A connection was refused; `reason` is a [`DropReason`](crate::counter::DropReason).
    Refused = 4,
    /// A trusted source's connection was left to the kernel; `reason` is a
    /// [`Obstacle`](crate::counter::Obstacle).
    LeftToKernel = 5,
}

impl EventKind {
    /// The value that [`Event::kind`] holds, read back; `None` for any other.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Header),
            2 => Some(Self::Established),
            3 => Some(Self::Closed),
            4 => Some(Self::Refused),
            5 => Some(Self::LeftToKernel),
            _ => None,
        }
    }
}

/// Which events of sockets nobody wants, as bits of a word that the agent writes. Zero: all are wanted.
pub mod muted {
    /// [`EventKind::Established`](super::EventKind::Established), except by the accept hand-off: the agent watches whether
    /// these connections are established, and how late.
    pub const ESTABLISHED: u32 = 1;
    /// [`EventKind::Closed`](super::EventKind::Closed), except of flows with TLVs, which the agent keeps until then.
    pub const CLOSED: u32 = 1 << 1;
}

/// Whether somebody wants the event of this kind on a flow; `muted` has the bits of [`muted`].
#[inline(always)]
#[must_use]
pub const fn is_wanted(kind: EventKind, record: &FlowRecord, muted: u32) -> bool {
    match kind {
        EventKind::Established => {
            muted & muted::ESTABLISHED == 0 || record.hand_off == HandOff::Accept as u8
        }
        EventKind::Closed => muted & muted::CLOSED == 0 || record.has(FlowRecord::TLVS),
        EventKind::Header | EventKind::Refused | EventKind::LeftToKernel => true,
    }
}

/// One event: fixed part. For [`EventKind::Header`], `header_length` raw header bytes follow it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
pub struct Event {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Payload bytes received from the client, without the header, host order; of a refused connection those of the
    /// segment that was refused.
    pub bytes_received: u64,
    /// Payload bytes sent to the client and acknowledged, host order.
    pub bytes_sent: u64,
    /// Packets received, host order; without those of a handshake that TCP has not seen.
    pub packets_received: u32,
    /// Packets sent, host order; without those of a handshake that TCP has not seen.
    pub packets_sent: u32,
    /// The flow.
    pub key: FlowKey,
    /// What is known of it.
    pub record: FlowRecord,
    /// An [`EventKind`] as its value.
    pub kind: u8,
    /// A reason as its index; its type depends on the kind.
    pub reason: u8,
    /// How many header bytes follow, host order.
    pub header_length: u16,
    /// Zero.
    pub reserved: [u8; 4],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_agent_watches_and_keeps_is_wanted_though_muted() {
        use EventKind as K;
        let of = |hand_off: HandOff, flags| FlowRecord {
            hand_off: hand_off as u8,
            flags,
            ..FlowRecord::EMPTY
        };
        let all = [K::Header, K::Established, K::Closed, K::Refused, K::LeftToKernel];
        let (accept, translate) = (of(HandOff::Accept, 0), of(HandOff::Translate, 0));
        let tlvs = of(HandOff::Translate, FlowRecord::TLVS);
        for (record, muted, unwanted) in [
            (translate, 0, &[][..]),
            (translate, muted::ESTABLISHED, &[K::Established]),
            (translate, muted::CLOSED, &[K::Closed]),
            (translate, muted::ESTABLISHED | muted::CLOSED, &[K::Established, K::Closed]),
            (accept, muted::ESTABLISHED | muted::CLOSED, &[K::Closed]),
            (tlvs, muted::ESTABLISHED | muted::CLOSED, &[K::Established]),
        ] {
            let found: Vec<_> =
                all.into_iter().filter(|kind| !is_wanted(*kind, &record, muted)).collect();
            assert_eq!(found, unwanted, "{record:?} {muted}");
        }
    }

    #[test]
    fn layout_has_no_hidden_padding() {
        assert_eq!((size_of::<Event>(), align_of::<Event>()), (32 + 48 + 72 + 8, 8));
    }
}
