//! A TCP segment for a guarded port, as [`crate::frame::parse`] reads it from an Ethernet frame.

use proxyip_common::{
    address::{Local, Peer},
    cookie::{MSS_V4, MSS_V6},
    settings::{HELD, RETIRED},
};

use crate::{
    frame::{
        ip::{ETHERNET, IPV4, IPV6},
        tcp::Seq,
    },
    kernel::{btf_maps::PerCpuArray, macros::btf_map, packet::Packet},
};

/// In [`Segment::listener`]: the port is no longer guarded.
pub const RETIRED_LISTENER: u16 = RETIRED - 1;
/// In [`Segment::listener`]: nothing is received for the moment.
pub const HELD_LISTENER: u16 = HELD - 1;

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
    pub sequence: Seq,
    pub acknowledgment: Seq,
    pub flags: u8,
    /// Length of the TCP header in bytes, 20 to 60.
    pub header: usize,
    /// Length of the payload in bytes.
    pub payload: usize,
    /// The ingress program has seen the segment before, and queued it.
    pub queued: bool,
    /// What would get the segment is known from [`Memory::found`](crate::state::memory::Memory::found) already.
    pub found: bool,
}

impl Segment {
    #[inline(always)]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Length of the IP header, for [`Shape::Plain`].
    #[inline(always)]
    pub fn ip_length(&self) -> usize {
        if self.ipv6 { IPV6 } else { IPV4 }
    }
}

/// The MSS classes of the segment's family.
#[inline(always)]
pub fn classes(segment: &Segment) -> &'static [u16; 8] {
    if segment.ipv6 { &MSS_V6 } else { &MSS_V4 }
}

/// Whether the IP header of a segment in [`Shape::Plain`] says that routers may mark it, or that one has (RFC 3168 §5).
#[inline(always)]
pub fn is_ecn_capable(packet: &impl Packet, segment: &Segment) -> bool {
    const ECN: u8 = 3;
    // The second byte of either header has them; in IPv6 the field lies four bits earlier.
    let service = packet.load_at::<[u8; 2]>(ETHERNET).map_or(ECN, |[_, second]| second);
    let service = if segment.ipv6 { service >> 4 } else { service };
    service & ECN != 0
}

/// The segments being read by the ingress and by the egress program. On the stack, the verifier would walk the
/// programs once for each combination of values that it can tell apart.
#[btf_map]
pub static SEGMENTS: PerCpuArray<Segment, 2> = PerCpuArray::new();

/// The ingress program's segment of this CPU, to be filled. A run fills it once, and only reads it from then on.
#[inline(always)]
pub fn fill_incoming() -> Option<&'static mut Segment> {
    // SAFETY: this CPU's own value, zeroed by the kernel. Nobody has a reference to it before it is filled.
    SEGMENTS.get_ptr_mut(0).map(|segment| unsafe { &mut *segment })
}

/// The segment that the ingress program has filled, for exported functions, which get the context alone.
#[inline(always)]
pub fn incoming() -> Option<&'static Segment> {
    // SAFETY: this CPU's own value, which nobody writes any more in this run.
    SEGMENTS.get(0)
}

/// The egress program's segment of this CPU, to be filled and read by its one caller.
#[inline(always)]
pub fn outgoing() -> Option<&'static mut Segment> {
    // SAFETY: this CPU's own value, zeroed by the kernel. Who takes it again uses no reference from before.
    SEGMENTS.get_ptr_mut(1).map(|segment| unsafe { &mut *segment })
}
