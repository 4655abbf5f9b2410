//! TCP options (RFC 9293 §3.2, RFC 7323, RFC 2018).

use crate::{
    frame::{segment::Segment, tcp::TCP},
    kernel::{
        helpers::bpf_skb_load_bytes,
        packet::raw,
        programs::TcContext,
        verified::{Code, bounded, share},
    },
    memory::{Scratch, scratch},
};

/// The longest options a TCP header can hold, in bytes.
pub const LONGEST: usize = 40;

/// Index mask of the buffer that holds them.
pub const MASK: usize = 63;
const END: u8 = 0;
pub const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;
const MD5_SIGNATURE: u8 = 19;
const AUTHENTICATION: u8 = 29;
const MPTCP: u8 = 30;
const FAST_OPEN: u8 = 34;

/// For experiments (RFC 6994), TCP Fast Open among them.
const EXPERIMENT: u8 = 254;

/// The options of one segment, numbers in host byte order.
#[derive(Clone, Copy)]
pub struct Options {
    pub mss: Option<u16>,
    /// The peer's shift count, capped at 14 as RFC 7323 §2.3 says.
    pub window_scale: Option<u8>,
    pub sack_permitted: bool,
    pub timestamps: Option<Timestamps>,
    /// A TCP MD5 (RFC 2385) or TCP-AO (RFC 5925) signature is present.
    pub signed: bool,
    /// Bytes of options that would let the connection begin without its header: bit *n* for byte *n*.
    pub unwanted: u64,
}

/// The timestamps option.
#[derive(Clone, Copy)]
pub struct Timestamps {
    pub value: u32,
    pub echo: u32,
}

/// The options as bytes, zero behind their end.
pub type Buffer = [u8; MASK + 1];

/// Copies the segment's options to `scratch.options` and reads them into `scratch.received`; false if the
/// frame ends before they do.
#[inline(never)]
pub fn read(ctx: &TcContext, segment: &Segment, scratch: &mut Scratch) -> bool {
    scratch.options = [0; MASK + 1];
    scratch.received = Options {
        mss: None,
        window_scale: None,
        sack_permitted: false,
        timestamps: None,
        signed: false,
        unwanted: 0,
    };
    let length = segment.header.wrapping_sub(TCP);
    scratch.cursor = 0;
    scratch.options_length = length;
    if length == 0 {
        return true;
    }
    let Some(length) = bounded::<LONGEST>(length) else { return false };
    // SAFETY: `length` is at most 40 and the buffer holds 64 bytes.
    let loaded = unsafe {
        bpf_skb_load_bytes(
            raw(ctx).cast(),
            (segment.tcp + TCP) as u32,
            scratch.options.as_mut_ptr().cast(),
            length as u32,
        )
    };
    if loaded != 0 {
        return false;
    }
    let _ = share(scratch);
    read_all();
    true
}

/// Reads the options in the scratch. Exported: the verifier walks it once, and not at each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_all() -> Code {
    let Some(scratch) = scratch() else { return 0 };
    for _ in 0..LONGEST {
        if scratch.cursor >= scratch.options_length {
            break;
        }
        read_one(scratch);
    }
    0
}

/// Reads the option at the cursor and moves it to the next one. What was read before a broken option counts,
/// as in the kernel's `tcp_parse_options()`.
///
/// Not inlined, so that cursor and options stay in memory: the verifier would else follow every combination
/// of options, at every place they can be.
#[inline(never)]
fn read_one(scratch: &mut Scratch) {
    let (at, length) = (scratch.cursor, scratch.options_length);
    let buffer = &scratch.options;
    let byte = |index: usize| buffer[(at + index) & MASK];
    let word = |at| u32::from_be_bytes([byte(at), byte(at + 1), byte(at + 2), byte(at + 3)]);
    let (kind, size) = (byte(0), usize::from(byte(1)));
    if kind == NO_OPERATION {
        scratch.cursor = at + 1;
        return;
    }
    if kind == END || size < 2 || at + size > length {
        scratch.cursor = length;
        return;
    }
    scratch.cursor = at + size;
    let options = &mut scratch.received;
    match (kind, size) {
        (MAXIMUM_SEGMENT_SIZE, 4) => options.mss = Some(u16::from_be_bytes([byte(2), byte(3)])),
        (WINDOW_SCALE, 3) => options.window_scale = Some(byte(2).min(14)),
        (SACK_PERMITTED, 2) => options.sack_permitted = true,
        (TIMESTAMPS, 10) => {
            options.timestamps = Some(Timestamps { value: word(2), echo: word(6) });
        }
        (MD5_SIGNATURE | AUTHENTICATION, _) => options.signed = true,
        (MPTCP | FAST_OPEN | EXPERIMENT, _) => {
            options.unwanted |= ((1 << (size & MASK)) - 1) << (at & MASK);
        }
        _ => {}
    }
}
