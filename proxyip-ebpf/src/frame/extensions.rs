//! IPv6 extension headers (RFC 8200 §4).

use crate::{
    frame::{
        ip::{ETHERNET, IPV6},
        tcp::PROTOCOL_TCP,
    },
    kernel::{bindings::__sk_buff, packet::load_at, verified::Code},
};

/// From [`find_tcp`]: there is no TCP header.
pub const NO_TCP: usize = 0;

/// From [`find_tcp`]: there may be one.
const UNKNOWN: Code = -1;

/// In what [`find_tcp`] returns, the header's offset in the frame.
pub const OFFSET: usize = 0xffff;

/// In what [`find_tcp`] returns: in a first fragment.
pub const FRAGMENT: usize = OFFSET + 1;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT_HEADER: u8 = 44;
const DESTINATION: u8 = 60;

/// Whether this is the number of an extension header behind which TCP may come.
#[inline(always)]
pub fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT_HEADER | DESTINATION)
}

/// Walks the extension headers of an IPv6 packet (RFC 8200 §4) to its TCP header. Exported: the verifier walks it once,
/// and not at each call.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_tcp(skb: *mut __sk_buff) -> Code {
    /// In a fragment header: where the fragment begins.
    const OFFSET_MASK: u16 = 0xfff8;
    /// Nobody sends more than one of each kind; RFC 8504 §5.3 allows hosts a limit.
    const MOST: usize = 8;

    let mut fragment = 0;
    let Some([mut next, ..]) = load_at::<[u8; 4]>(skb, ETHERNET + 6) else { return NO_TCP as Code };
    let mut at = ETHERNET + IPV6;
    for _ in 0..=MOST {
        if next == PROTOCOL_TCP {
            return (at & OFFSET | fragment) as Code;
        }
        if !is_extension(next) {
            return NO_TCP as Code;
        }
        let Some([following, length, high, low]) = load_at::<[u8; 4]>(skb, at) else {
            return NO_TCP as Code;
        };
        if next == FRAGMENT_HEADER {
            if u16::from_be_bytes([high, low]) & OFFSET_MASK != 0 {
                return NO_TCP as Code;
            }
            fragment = FRAGMENT;
            at += 8;
        } else {
            at += (usize::from(length) + 1) * 8;
        }
        next = following;
    }
    UNKNOWN
}
