//! The stateless SYN cookie: everything that the accept hand-off must remember between its SYN-ACK and
//! the first segment with payload rides in the SYN-ACK's sequence number.
//!
//! ```text
//!  31   30             16 15     13  12  11         8 7             0
//! +---+-----------------+---------+----+------------+---------------+
//! | E |  handshake tag  |   MSS   | SP |   wscale   |   flow tag    |
//! +---+-----------------+---------+----+------------+---------------+
//! ```
//!
//! - `E`: parity of the epoch in which the cookie was made; the current epoch and the one before count.
//! - *flow tag*: keyed hash of the 4-tuple and the epoch. It recognises any segment of a handshake in
//!   flight, so that one which overtook the first is dropped instead of reset. It is in the lowest byte, because a
//!   server counts up from its cookie. A segment of a connection that has ended acknowledges
//!   also what the server has sent. Only one number in 256 has the same tag.
//! - *handshake tag*: keyed hash of all that and of the peer's initial sequence number and the options.
//! - *MSS*: index into a table of classes; *SP*: SACK permitted; *wscale*: the peer's, 15 for none.
//!
//! The kernel's own cookies carry the options in a timestamp; this cookie always holds them itself. So peers without
//! timestamps (Windows by default) keep window scaling and SACK. Only ECN is in the timestamp ([`stamp`]), because no bit is
//! left. A forger would choose the form without timestamps anyway. 23 tag bits, one valid value for each choice of
//! options: a blind guess from a spoofed trusted address is right once in 2^22.

use crate::address::{Local, Peer};

/// Length of an epoch in nanoseconds, unless configured. A cookie is good for one to two epochs: 400 to 800 s, because
/// NLB's idle timeout is 350 s and with `on_first_ack_with_payload` the header waits for the client's first byte.
pub const EPOCH_NS: u64 = 400_000_000_000;

/// Slots for secrets: the epochs before, now and next, rounded up to a power of two.
pub const SECRETS: u32 = 4;

/// A 128-bit SipHash key. The key of epoch `e` is in slot `e % SECRETS`.
pub type Secret = [u64; 2];

/// The epoch of a `CLOCK_MONOTONIC` time, for epochs of `length_ns`, which is not zero.
#[inline(always)]
#[must_use]
pub const fn epoch(now_ns: u64, length_ns: u64) -> u64 {
    match now_ns.checked_div(length_ns) {
        Some(epoch) => epoch,
        None => 0,
    }
}

/// The epoch a cookie seen in epoch `now` belongs to: the later of two of the cookie's parity.
#[inline(always)]
#[must_use]
pub const fn epoch_of(cookie: u32, now: u64) -> u64 {
    if now & 1 == (cookie >> 31) as u64 { now } else { now.wrapping_sub(1) }
}

/// The classes of MSS in bytes, ascending, that a cookie can hold. The first is the kernel's minimum for
/// `bpf_sk_assign_tcp_reqsk()`: 536 for IPv4, 1280 - 60 for IPv6. The last serves
/// MTU 9000 and EC2's 9001.
pub const MSS_V4: [u16; 8] = [536, 1240, 1360, 1400, 1440, 1460, 4056, 8960];
/// See [`MSS_V4`].
pub const MSS_V6: [u16; 8] = [1220, 1300, 1340, 1380, 1420, 1440, 4036, 8940];

/// What the two ends agreed on in the SYN, limited to what the socket needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Index into [`MSS_V4`] or [`MSS_V6`].
    pub mss_class: u8,
    /// Both ends permit SACK.
    pub sack: bool,
    /// The peer's window scale, 0 to 14, if both ends scale windows.
    pub window_scale: Option<u8>,
}

impl Agreed {
    const NO_SCALE: u32 = 15;

    /// The largest class not above the peer's MSS; `None` if that is below the kernel's minimum.
    #[inline(always)]
    #[must_use]
    pub fn class_of(mss: u16, classes: &[u16; 8]) -> Option<u8> {
        let mut class = None;
        for (index, candidate) in (0u8..).zip(classes) {
            if mss >= *candidate {
                class = Some(index);
            }
        }
        class
    }

    /// The MSS of this class in bytes.
    #[inline(always)]
    #[must_use]
    pub fn mss(&self, classes: &[u16; 8]) -> u16 {
        classes[usize::from(self.mss_class & 7)]
    }

    /// The bits of a cookie that hold them.
    const MASK: u32 = 0xff00;

    /// As a cookie holds them.
    #[inline(always)]
    #[must_use]
    pub fn pack(self) -> u32 {
        let scale = match self.window_scale {
            Some(scale) => u32::from(scale),
            None => Self::NO_SCALE,
        };
        u32::from(self.mss_class & 7) << 13 | u32::from(self.sack) << 12 | (scale & 15) << 8
    }

    /// Those that a cookie holds.
    #[inline(always)]
    #[must_use]
    pub fn unpack(cookie: u32) -> Self {
        let scale = cookie >> 8 & 15;
        Self {
            mss_class: (cookie >> 13 & 7) as u8,
            sack: cookie & 1 << 12 != 0,
            window_scale: if scale == Self::NO_SCALE { None } else { Some(scale as u8) },
        }
    }
}

/// The bit of a SYN-ACK's timestamp that says whether the two ends use ECN (RFC 3168). The peer echoes it with its header.
pub const ECN: u32 = 1;

/// The SYN-ACK's timestamp at this time of its clock, which ticks milliseconds. `ecn` is [`ECN`] or 0. Never ahead of the
/// clock: what the socket sends later must not be older.
#[inline(always)]
#[must_use]
pub const fn stamp(clock: u32, ecn: u32) -> u32 {
    clock.wrapping_sub((clock ^ ecn) & ECN)
}

/// What a segment's acknowledgment number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The cookie of exactly this handshake.
    Valid(Agreed),
    /// A cookie of this flow, but not for this sequence number: a later segment of the handshake.
    SameFlow,
    /// No cookie of ours.
    Foreign,
}

/// A flow's keyed hash, from which its cookies are made and checked.
#[derive(Clone, Copy)]
pub struct FlowHash {
    hash: u64,
    secret: Secret,
    epoch: u64,
}

impl FlowHash {
    /// The bits of a cookie that are the same for each handshake of the flow.
    const FLOW_MASK: u32 = 1 << 31 | 0xff;

    /// Hashes the 4-tuple in `epoch` with that epoch's secret.
    #[inline(always)]
    #[must_use]
    pub fn new(secret: Secret, epoch: u64, peer: &Peer, local: &Local) -> Self {
        let [a, b] = halves(peer.0.words());
        let [c, d] = halves(local.0.words());
        let ports = u64::from(peer.0.port()) << 16 | u64::from(local.0.port());
        let hash = siphash(secret, [a, b, c, d, epoch << 32 | ports]);
        Self { hash, secret, epoch }
    }

    /// The cookie that answers a SYN with sequence number `isn`.
    #[inline(always)]
    #[must_use]
    pub fn cookie(&self, isn: u32, agreed: Agreed) -> u32 {
        let options = agreed.pack();
        self.flow_part() | self.handshake_tag(isn, options) << 16 | options
    }

    /// Checks `cookie` (acknowledgment number − 1) of a segment that would follow a SYN with
    /// sequence number `isn`.
    #[inline(always)]
    #[must_use]
    pub fn check(&self, cookie: u32, isn: u32) -> Check {
        if (cookie ^ self.flow_part()) & Self::FLOW_MASK != 0 {
            return Check::Foreign;
        }
        if cookie >> 16 & 0x7fff == self.handshake_tag(isn, cookie & Agreed::MASK) {
            Check::Valid(Agreed::unpack(cookie))
        } else {
            Check::SameFlow
        }
    }

    /// Epoch parity and flow tag, in their places.
    #[inline(always)]
    fn flow_part(&self) -> u32 {
        ((self.epoch & 1) as u32) << 31 | self.hash as u32 & 0xff
    }

    /// 15 bits.
    #[inline(always)]
    fn handshake_tag(&self, isn: u32, options: u32) -> u32 {
        let words = [self.hash, u64::from(isn) << 32 | u64::from(options)];
        siphash(self.secret, words) as u32 & 0x7fff
    }
}

#[inline(always)]
fn halves([a, b, c, d]: [u32; 4]) -> [u64; 2] {
    [u64::from(a) << 32 | u64::from(b), u64::from(c) << 32 | u64::from(d)]
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012) of whole 64-bit words, little endian.
#[inline(always)]
fn siphash<const N: usize>([k0, k1]: Secret, words: [u64; N]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    for word in words {
        v[3] ^= word;
        rounds::<2>(&mut v);
        v[0] ^= word;
    }
    let last = (N as u64 * 8) << 56;
    v[3] ^= last;
    rounds::<2>(&mut v);
    v[0] ^= last;
    v[2] ^= 0xff;
    rounds::<4>(&mut v);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline(always)]
fn rounds<const N: usize>(v: &mut [u64; 4]) {
    for _ in 0..N {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
}

#[cfg(test)]
mod tests;
