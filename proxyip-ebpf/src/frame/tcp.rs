//! TCP headers: lengths, offsets, flags (RFC 9293 §3.1).

/// Length of a TCP header without options.
pub const TCP: usize = 20;

/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;

/// Offset of the checksum in the TCP header.
pub const TCP_CHECKSUM: usize = 16;

/// A sequence number (RFC 9293 §3.4), in host byte order. It wraps, so that none is larger than another: one is only
/// ahead of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Seq(pub u32);

impl Seq {
    /// As a TCP header has it.
    #[inline(always)]
    pub fn from_header(bytes: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }

    /// As a TCP header wants it.
    #[inline(always)]
    pub fn to_header(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    /// The number that lies `length` bytes further.
    #[inline(always)]
    pub fn plus(self, length: u32) -> Self {
        Self(self.0.wrapping_add(length))
    }

    /// The number that lies `length` bytes before.
    #[inline(always)]
    pub fn minus(self, length: u32) -> Self {
        Self(self.0.wrapping_sub(length))
    }

    /// How many bytes this number lies ahead of the other; nearly 2³² if it lies just before.
    #[inline(always)]
    pub fn ahead_of(self, other: Self) -> u32 {
        self.0.wrapping_sub(other.0)
    }

    /// Of a SYN's number: the first of the stream's bytes.
    #[inline(always)]
    pub fn stream(self) -> Self {
        self.plus(1)
    }

    /// Of the number of the stream's first byte: the SYN's.
    #[inline(always)]
    pub fn syn(self) -> Self {
        self.minus(1)
    }
}

/// TCP flags (RFC 9293 §3.1).
pub mod flags {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 1 << 1;
    pub const RST: u8 = 1 << 2;
    pub const ACK: u8 = 1 << 4;
    /// RFC 3168 §6.1.
    pub const ECE: u8 = 1 << 6;
    /// RFC 3168 §6.1.
    pub const CWR: u8 = 1 << 7;
}

/// A TCP header without options (RFC 9293 §3.1).
#[repr(C, align(4))]
pub struct TcpHeader {
    pub source: [u8; 2],
    pub destination: [u8; 2],
    pub sequence: [u8; 4],
    pub acknowledgment: [u8; 4],
    pub offset: u8,
    pub flags: u8,
    pub window: [u8; 2],
    pub checksum: [u8; 2],
    pub urgent: [u8; 2],
}

impl TcpHeader {
    /// A header of known ports only. It counts as the SYN that it may be.
    pub const fn hidden(ports: [[u8; 2]; 2]) -> Self {
        let [source, destination] = ports;
        Self {
            source,
            destination,
            sequence: [0; 4],
            acknowledgment: [0; 4],
            offset: 5 << 4,
            flags: flags::SYN,
            window: [0; 2],
            checksum: [0; 2],
            urgent: [0; 2],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Seq;

    #[test]
    fn numbers_wrap() {
        let last = Seq(u32::MAX);
        assert_eq!(last.plus(1), Seq(0));
        assert_eq!(Seq(0).minus(1), last);
        assert_eq!(Seq(3).ahead_of(last), 4);
        assert_eq!(last.ahead_of(Seq(3)).cast_signed(), -4);
    }

    #[test]
    fn a_stream_begins_behind_its_syn() {
        for isn in [Seq(0), Seq(7), Seq(u32::MAX)] {
            assert_eq!(isn.stream().ahead_of(isn), 1);
            assert_eq!(isn.stream().syn(), isn);
            assert_eq!(Seq::from_header(isn.to_header()), isn);
        }
    }
}
