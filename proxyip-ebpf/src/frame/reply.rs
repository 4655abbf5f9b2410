//! Answers without a socket, put together: SYN-ACK, ACK and RST.

use crate::{
    frame::{
        checksum::{copy, fold, sum},
        ip::{ETHERNET, IPV4, IPV6, NO_OPTIONS},
        options::TIMESTAMPS,
        segment::Segment,
        tcp::{PROTOCOL_TCP, Seq, TCP, TCP_CHECKSUM, flags},
    },
    kernel::memory::Place,
};

/// The longest options built here.
pub const OPTIONS: usize = 20;

/// Time to live, hop limit: Linux's default.
const HOPS: u8 = 64;

/// Where the TCP header is in a [`ReplyBuffer`]. An IPv4 frame starts later than an IPv6 frame, so this holds for
/// both. Both start at 2 modulo 4, so IP and TCP headers are aligned.
const TCP_AT: usize = 2 + ETHERNET + IPV6;

/// Where the TCP options are in a [`ReplyBuffer`].
const OPTIONS_AT: usize = TCP_AT + TCP;

/// Where the IPv4 header is in a [`ReplyBuffer`].
pub const IPV4_AT: usize = TCP_AT - IPV4;

/// Where the IPv6 header is in a [`ReplyBuffer`].
pub const IPV6_AT: usize = TCP_AT - IPV6;

/// Room for the frame of an answer: Ethernet, IP and TCP headers with options.
#[repr(C, align(4))]
pub struct ReplyBuffer(pub [u8; OPTIONS_AT + OPTIONS]);

/// The bytes of a [`ReplyBuffer`].
type Bytes = [u8; OPTIONS_AT + OPTIONS];

/// An answer; numbers in host byte order. Its options are put in the [`ReplyBuffer`] before it is written.
pub struct Reply {
    pub sequence: Seq,
    pub acknowledgment: Seq,
    pub flags: u8,
    pub window: u16,
    /// How many bytes of the frame's options count; a multiple of 4, 20 at most.
    pub options_length: usize,
}

impl Reply {
    /// A segment without options.
    #[inline(always)]
    pub fn bare(sequence: Seq, acknowledgment: Seq, flags: u8) -> Self {
        Self { sequence, acknowledgment, flags, window: 0, options_length: 0 }
    }

    /// The RST for `segment` (RFC 9293 §3.10.7.1).
    #[inline(always)]
    pub fn reset(segment: &Segment) -> Self {
        if segment.has(flags::ACK) {
            return Self::bare(segment.acknowledgment, Seq(0), flags::RST);
        }
        let length = segment.payload as u32
            + u32::from(segment.has(flags::SYN))
            + u32::from(segment.has(flags::FIN));
        Self::bare(Seq(0), segment.sequence.plus(length), flags::RST | flags::ACK)
    }

    /// Puts IP and TCP header into `frame`, `pseudo` in the checksum's place; returns the sum of the TCP header
    /// without it.
    #[inline(never)]
    pub fn compose(&self, segment: &Segment, frame: &mut ReplyBuffer, pseudo: u16) -> u64 {
        let frame = &mut frame.0;
        self.put_tcp(segment, frame, pseudo);
        // The options behind those that count must not be summed.
        for offset in 0..OPTIONS {
            if offset >= self.options_length {
                frame[OPTIONS_AT + offset] = 0;
            }
        }
        let tcp_length = TCP + self.options_length;
        if segment.ipv6 {
            put_ipv6(segment, frame, tcp_length);
        } else {
            put_ipv4(segment, frame, tcp_length);
        }
        sum::<TCP_CHECKSUM, _>(frame, TCP_AT) + sum::<OPTIONS, _>(frame, OPTIONS_AT)
    }

    /// The TCP header, `checksum` in its field.
    #[inline(always)]
    fn put_tcp(&self, segment: &Segment, frame: &mut Bytes, checksum: u16) {
        copy(frame, TCP_AT, segment.local.0.port_bytes());
        copy(frame, TCP_AT + 2, segment.peer.0.port_bytes());
        copy(frame, TCP_AT + 4, self.sequence.to_header());
        copy(frame, TCP_AT + 8, self.acknowledgment.to_header());
        frame[TCP_AT + 12] = ((TCP + self.options_length) as u8) << 2;
        frame[TCP_AT + 13] = self.flags;
        copy(frame, TCP_AT + 14, self.window.to_be_bytes());
        copy(frame, TCP_AT + TCP_CHECKSUM, checksum.to_ne_bytes());
        copy(frame, TCP_AT + 18, [0; 2]);
    }
}

/// Puts the full checksum, as [`u16::to_ne_bytes`] has it, into a composed frame.
#[inline(always)]
pub fn put_checksum(ReplyBuffer(frame): &mut ReplyBuffer, checksum: u16) {
    copy(frame, TCP_AT + TCP_CHECKSUM, checksum.to_ne_bytes());
}

/// Swaps source and destination in a composed frame. Its checksums stay right: a sum has no order.
#[inline(always)]
pub fn turn_round(ReplyBuffer(frame): &mut ReplyBuffer, segment: &Segment) {
    swap::<2>(frame, TCP_AT);
    if segment.ipv6 {
        swap::<16>(frame, IPV6_AT + 8);
    } else {
        swap::<4>(frame, IPV4_AT + 12);
    }
}

/// Swaps `N` bytes at a constant offset with as many behind them.
#[inline(always)]
fn swap<const N: usize>(frame: &mut Bytes, at: usize) {
    for offset in at..at + N {
        frame.swap(offset, offset + N);
    }
}

#[inline(always)]
fn put_ipv4(segment: &Segment, frame: &mut Bytes, tcp_length: usize) {
    let ([.., source], [.., destination]) = (segment.local.0.words(), segment.peer.0.words());
    let [high, low] = ((IPV4 + tcp_length) as u16).to_be_bytes();
    copy(frame, IPV4_AT, [NO_OPTIONS, 0, high, low, 0, 0, 0x40, 0, HOPS, PROTOCOL_TCP, 0, 0]);
    copy(frame, IPV4_AT + 12, source.to_ne_bytes());
    copy(frame, IPV4_AT + 16, destination.to_ne_bytes());
    let checksum = !fold(sum::<IPV4, _>(frame, IPV4_AT));
    copy(frame, IPV4_AT + 10, checksum.to_ne_bytes());
}

#[inline(always)]
fn put_ipv6(segment: &Segment, frame: &mut Bytes, tcp_length: usize) {
    let at = IPV6_AT;
    let [high, low] = (tcp_length as u16).to_be_bytes();
    copy(frame, at, [0x60, 0, 0, 0, high, low, PROTOCOL_TCP, HOPS]);
    for (index, word) in segment.local.0.words().into_iter().enumerate() {
        copy(frame, at + 8 + index * 4, word.to_ne_bytes());
    }
    for (index, word) in segment.peer.0.words().into_iter().enumerate() {
        copy(frame, at + 24 + index * 4, word.to_ne_bytes());
    }
}

/// Puts an option, or several, at the constant `at` of the frame's options.
#[inline(always)]
pub fn put_option<const N: usize>(buffer: &Place<ReplyBuffer>, at: usize, option: [u8; N]) {
    // SAFETY: nobody is in the middle of reading it.
    copy(&mut unsafe { buffer.get_mut() }.0, OPTIONS_AT + at, option);
}

/// Puts a timestamps option, value and echo, behind two bytes of `lead` at the constant `at` of the frame's options.
#[inline(always)]
pub fn put_timestamps(
    buffer: &Place<ReplyBuffer>,
    at: usize,
    lead: [u8; 2],
    (value, echo): (u32, u32),
) {
    put_option(buffer, at, lead);
    put_option(buffer, at + 2, [TIMESTAMPS, 10]);
    put_option(buffer, at + 4, value.to_be_bytes());
    put_option(buffer, at + 8, echo.to_be_bytes());
}
