//! Working memory of a program for one packet: the stack holds 512 bytes only.

use proxyip_common::{
    cookie::Options as Agreed, event::Event, flow::FlowKey, header::Parser, partial::HeaderBytes,
};

use crate::{
    frame::{
        options::{self, Options},
        reply::Frame,
    },
    header::{self, intact::Summing},
    kernel::{btf_maps::PerCpuArray, macros::btf_map},
    state::sockets::State,
};

/// Working memory of the ingress program for one segment: the stack holds 512 bytes only. A softirq is
/// not interrupted by another on the same CPU.
#[repr(C)]
pub struct Scratch {
    /// The flow's key and record, and with them the event that tells of it.
    pub event: Event,
    /// The bytes of the header.
    pub header: header::Bytes,
    /// How many of them there are.
    pub loaded: usize,
    /// How many of these came in earlier segments.
    pub kept: usize,
    /// How many bytes of the segment's payload are among those.
    pub skipped: usize,
    /// The bytes of the header, to be kept.
    pub bytes: HeaderBytes,
    /// Of the header.
    pub parser: Parser,
    /// What has been summed of the segment.
    pub summing: Summing,
    /// The segment's TCP options as bytes.
    pub options: options::Buffer,
    /// The same, with no-operations in the place of some.
    pub blanked: options::Buffer,
    /// How many of those bytes count.
    pub options_length: usize,
    /// The option being read.
    pub cursor: usize,
    /// The options, read.
    pub received: Options,
    /// What the segment's cookie held.
    pub agreed: Agreed,
    /// The frame of an answer.
    pub frame: Frame,
    /// The sequence number that the kernel expects next of a connection that is reset.
    pub expected: u32,
    /// Initial sequence number of the peer, from the handshake.
    pub isn: u32,
    /// How many bytes of the stream to acknowledge.
    pub acknowledged: u32,
    /// When the SYN came of a handshake that the kernel does; 0 if that is not known.
    pub since_ns: u64,
    /// The [`HandOff`](proxyip_common::flow::HandOff) that the connection gets, as its value; 0 before that is decided.
    pub hand_off: u8,
    /// Why, as the index of a [`Reason`](proxyip_common::counter::Reason).
    pub reason: u8,
    /// The connection whose header had begun has been reset, or dropped.
    pub refused: bool,
    /// It has been dropped.
    pub dropped: bool,
    /// The connection was handed over before, and TCP did not take it.
    pub again: bool,
    /// The two ends do not scale windows.
    pub unscaled: bool,
    /// What kind of socket would get the segment. Here and not an argument: on Linux 6.1 the function that is given it
    /// took another one for it.
    pub state: State,
    /// The segment is one that this program has queued.
    pub clone: bool,
    /// The socket that would get the segment is an MPTCP listener.
    pub mptcp: bool,
}

/// One [`Scratch`] for each CPU.
#[btf_map]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// The working memory of this CPU.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the value is this CPU's own, zeroed by the kernel, valid for every bit pattern, and taken
    // once for each run of the program.
    Some(unsafe { &mut *scratch })
}

/// Working memory of the egress program for one segment. It may run in the middle of the ingress program, when
/// that sends a frame.
#[repr(C)]
pub struct Egress {
    pub key: FlowKey,
    /// The option being read, and where the options end: offsets in the frame.
    pub at: usize,
    pub end: usize,
    /// Where the SACK blocks are, and how many bytes.
    pub sack_at: usize,
    pub sack_length: usize,
    /// Their edges as they were, and as they shall be.
    pub old: [u32; 8],
    pub new: [u32; 8],
}

/// One [`Egress`] for each CPU.
#[btf_map]
pub static EGRESS: PerCpuArray<Egress, 1> = PerCpuArray::new();

/// The egress program's working memory of this CPU.
#[inline(always)]
pub fn egress() -> Option<&'static mut Egress> {
    let egress = EGRESS.get_ptr_mut(0)?;
    // SAFETY: as for the scratch; the egress program does not run in the middle of itself.
    Some(unsafe { &mut *egress })
}
