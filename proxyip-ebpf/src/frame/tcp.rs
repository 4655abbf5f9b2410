//! TCP headers: lengths, offsets, flags (RFC 9293 §3.1).

/// Length of a TCP header without options.
pub const TCP: usize = 20;

/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;

/// Offset of the checksum in the TCP header.
pub const TCP_CHECKSUM: usize = 16;

/// TCP flags (RFC 9293 §3.1).
pub mod flags {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 1 << 1;
    pub const RST: u8 = 1 << 2;
    pub const ACK: u8 = 1 << 4;
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
