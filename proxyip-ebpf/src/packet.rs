//! A TCP segment for a guarded port, as read from an Ethernet frame ([`crate::parse`]).

use core::hint::black_box;

use proxyip_common::{
    address::{Local, Peer},
    settings::RETIRED,
};

use crate::kernel::{bindings::__sk_buff, programs::TcContext};

/// Length of an Ethernet header without tags.
pub const ETHERNET: usize = 14;
/// Length of an IPv4 header without options.
pub const IPV4: usize = 20;
/// Length of an IPv6 header without extension headers.
pub const IPV6: usize = 40;
/// Length of a TCP header without options.
pub const TCP: usize = 20;
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;

/// In [`Segment::listener`], for a port that is guarded no longer.
pub const RETIRED_LISTENER: u16 = RETIRED - 1;

/// TCP flags (RFC 9293 §3.1).
pub mod flags {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 1 << 1;
    pub const RST: u8 = 1 << 2;
    pub const ACK: u8 = 1 << 4;
}

/// How the IP header is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Shape {
    /// A TCP header follows the fixed IP header.
    Plain,
    /// IPv4 options or IPv6 extension headers come between.
    Extended,
    /// The first fragment of several.
    Fragment,
}

/// A TCP segment for a guarded port. Numbers are in host byte order.
pub struct Segment {
    pub ipv6: bool,
    pub shape: Shape,
    /// Index of the listener that guards the port.
    pub listener: u16,
    pub peer: Peer,
    pub local: Local,
    /// Offset of the TCP header from the start of the frame, in bytes.
    pub tcp: usize,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: u8,
    /// Length of the TCP header in bytes, 20 to 60.
    pub header: usize,
    /// Length of the payload in bytes.
    pub payload: usize,
}

impl Segment {
    #[inline(always)]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Swaps the two ends.
    #[inline(always)]
    pub fn turn_round(&mut self) {
        core::mem::swap(&mut self.peer.0, &mut self.local.0);
    }

    /// Length of the IP header, for [`Shape::Plain`].
    #[inline(always)]
    pub fn ip_length(&self) -> usize {
        if self.ipv6 { IPV6 } else { IPV4 }
    }
}

/// A length for a helper, checked to be from 1 to `MOST`.
///
/// To be called directly before each use: the compiler must not know what it knows, or it drops a check that the
/// verifier needs, and older verifiers forget what they know of a number that is kept on the stack.
#[inline(always)]
pub fn bounded<const MOST: usize>(length: usize) -> Option<usize> {
    let below = black_box(length.wrapping_sub(1));
    if below >= MOST { None } else { Some(below + 1) }
}

/// The context as the raw helpers want it.
#[inline(always)]
pub fn raw(ctx: &TcContext) -> *mut __sk_buff {
    ctx.skb.skb
}
