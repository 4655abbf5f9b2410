//! What the kernel programs tell the agent, over one ring buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::flow::{FlowKey, FlowRecord};

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
    fn layout_has_no_hidden_padding() {
        assert_eq!((size_of::<Event>(), align_of::<Event>()), (32 + 48 + 72 + 8, 8));
    }
}
