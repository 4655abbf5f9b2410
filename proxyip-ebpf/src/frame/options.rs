//! TCP options (RFC 9293 §3.2, RFC 7323, RFC 2018).

use core::cell::Cell;

use crate::{
    frame::{segment::Segment, tcp::TCP},
    kernel::{
        memory::{Place, Room, room},
        packet::Packet,
        verified::{Code, bounded},
    },
};

/// The longest options a TCP header can hold, in bytes.
pub const LONGEST: usize = 40;

/// Index mask of the buffer that holds them.
pub const MASK: usize = 63;
const END: u8 = 0;
pub const NO_OPERATION: u8 = 1;
pub const MAXIMUM_SEGMENT_SIZE: u8 = 2;
pub const WINDOW_SCALE: u8 = 3;
pub const SACK_PERMITTED: u8 = 4;
pub const SACK: u8 = 5;
pub const TIMESTAMPS: u8 = 8;
const MD5_SIGNATURE: u8 = 19;
const AUTHENTICATION: u8 = 29;
const MPTCP: u8 = 30;
const FAST_OPEN: u8 = 34;

/// For experiments (RFC 6994), TCP Fast Open among them.
const EXPERIMENT: u8 = 254;

/// The options of one segment, numbers in host byte order.
pub struct Received {
    pub mss: Cell<Option<u16>>,
    /// The peer's shift count, capped at 14 as RFC 7323 §2.3 says.
    pub window_scale: Cell<Option<u8>>,
    pub sack_permitted: Cell<bool>,
    pub timestamps: Cell<Option<Timestamps>>,
    /// A TCP MD5 (RFC 2385) or TCP-AO (RFC 5925) signature is present.
    pub signed: Cell<bool>,
    /// Bytes of options that would let the connection begin without its header: bit *n* for byte *n*.
    pub unwanted: Cell<u64>,
}

/// The timestamps option.
#[derive(Clone, Copy)]
pub struct Timestamps {
    pub value: u32,
    pub echo: u32,
}

/// The options as bytes, zero behind their end.
pub type Buffer = [u8; MASK + 1];

/// The options of a segment, in working memory.
#[repr(C, align(8))]
pub struct Found {
    /// As bytes.
    pub bytes: Place<Buffer>,
    /// How many of those count.
    pub length: Cell<usize>,
    /// The option being read.
    cursor: Cell<usize>,
    /// What they say.
    pub received: Received,
}

// SAFETY: cells; each is valid when it is zero.
unsafe impl Room for Found {
    const AT: usize = 0;
}

/// Copies the segment's options to working memory and reads them there; false if the frame ends before they do.
#[inline(never)]
pub fn read(packet: &impl Packet, segment: &Segment, found: &Found) -> bool {
    let received = &found.received;
    received.mss.set(None);
    received.window_scale.set(None);
    received.sack_permitted.set(false);
    received.timestamps.set(None);
    received.signed.set(false);
    received.unwanted.set(0);
    let length = segment.header.wrapping_sub(TCP);
    found.cursor.set(0);
    found.length.set(length);
    let bytes = found.bytes.as_ptr();
    // SAFETY: the place is there, and nobody has a reference to it.
    unsafe { bytes.write([0; MASK + 1]) };
    if length == 0 {
        return true;
    }
    let Some(length) = bounded::<LONGEST>(length) else { return false };
    // SAFETY: `length` is at most 40 and the buffer holds 64 bytes.
    if !unsafe { packet.load_bytes(segment.tcp + TCP, bytes.cast(), length) } {
        return false;
    }
    read_all();
    true
}

/// How many bytes an option has that begins with these two, where `left` bytes of options are left. `None` at their end, and
/// where one is broken: nothing behind it counts, as in the kernel's `tcp_parse_options()`.
#[inline(always)]
pub fn length_of(kind: u8, second: u8, left: usize) -> Option<usize> {
    let length = usize::from(second);
    match kind {
        NO_OPERATION => Some(1),
        END => None,
        _ if length < 2 || length > left => None,
        _ => Some(length),
    }
}

/// Reads the options in working memory. Exported: the verifier walks it once, and not at each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_all() -> Code {
    let Some(found) = room::<Found>() else { return 0 };
    for _ in 0..LONGEST {
        if found.cursor.get() >= found.length.get() {
            break;
        }
        read_one(found);
    }
    0
}

/// Reads the option at the cursor and moves it to the next one. What was read before a broken option counts.
///
/// Not inlined, so that cursor and options stay in memory. Otherwise the verifier would follow every combination of
/// options, at every place where they can be.
#[inline(never)]
fn read_one(found: &Found) {
    let (at, length) = (found.cursor.get(), found.length.get());
    // SAFETY: written before the reading begins.
    let buffer = unsafe { found.bytes.get() };
    let byte = |index: usize| buffer[(at + index) & MASK];
    let word = |at| u32::from_be_bytes([byte(at), byte(at + 1), byte(at + 2), byte(at + 3)]);
    let kind = byte(0);
    let Some(size) = length_of(kind, byte(1), length.wrapping_sub(at)) else {
        found.cursor.set(length);
        return;
    };
    found.cursor.set(at + size);
    let received = &found.received;
    match (kind, size) {
        (MAXIMUM_SEGMENT_SIZE, 4) => {
            received.mss.set(Some(u16::from_be_bytes([byte(2), byte(3)])));
        }
        (WINDOW_SCALE, 3) => received.window_scale.set(Some(byte(2).min(14))),
        (SACK_PERMITTED, 2) => received.sack_permitted.set(true),
        (TIMESTAMPS, 10) => {
            received.timestamps.set(Some(Timestamps { value: word(2), echo: word(6) }));
        }
        (MD5_SIGNATURE | AUTHENTICATION, _) => received.signed.set(true),
        (MPTCP | FAST_OPEN | EXPERIMENT, _) => {
            let bits = ((1 << (size & MASK)) - 1) << (at & MASK);
            received.unwanted.set(received.unwanted.get() | bits);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_as_long_as_it_says_within_its_header() {
        assert_eq!(length_of(SACK, 10, 10), Some(10));
        assert_eq!(length_of(SACK, 11, 10), None, "longer than what is left");
        assert_eq!(length_of(SACK, 1, 10), None, "shorter than its own beginning");
        assert_eq!(length_of(END, 10, 10), None);
        assert_eq!(length_of(NO_OPERATION, 255, 1), Some(1), "what follows is no length");
    }
}
