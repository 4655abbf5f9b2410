//! Frames that deviate from the ordinary.

use proxyip_ebpf::host::{
    frame::{Checksum, Frame},
    wire::Segment,
};

use super::input::Form;

/// TCP options that peers send, the SYN's among them.
const OPTIONS: [&[u8]; 8] = [
    &[],
    &[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7],
    &[1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 1],
    &[2, 4, 1, 0],
    // MPTCP, and TCP Fast Open with a cookie.
    &[2, 4, 5, 180, 30, 4, 1, 1, 34, 6, 1, 2, 3, 4, 1, 1],
    // A TCP MD5 signature.
    &[19, 18, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1, 0],
    &[3, 3, 255, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 4, 2, 0],
    // An option with a length beyond the end.
    &[1, 1, 1, 254, 40, 1, 2, 3],
];

/// Whether the options are signed, so that the connection is left to the kernel.
pub(super) fn is_signed(form: Form) -> bool {
    form.options % 8 == 5
}

/// Whether the frame is as the peer has sent it, and whole.
pub(super) fn is_honest(form: Form) -> bool {
    form.odd < 128
}

/// The number of the frame's VLAN. The programs leave a VLAN's frames to the VLAN's own interface.
pub(super) fn vlan(form: Form) -> u8 {
    if form.odd & 0x7f == 0x7f { form.skb } else { 0 }
}

/// The frame of a segment.
pub(super) fn frame(mut segment: Segment, form: Form) -> Box<Frame> {
    segment.options = OPTIONS[usize::from(form.options % 8)].to_vec();
    if !is_honest(form) {
        match form.odd & 3 {
            0 => segment.sequence = segment.sequence.wrapping_add(u32::from(form.odd >> 2)),
            1 => {
                segment.acknowledgment =
                    segment.acknowledgment.wrapping_sub(u32::from(form.odd >> 2));
            }
            _ => {}
        }
    }
    let mut bytes = segment.frame();
    if !is_honest(form) {
        deviate(&mut bytes, form);
    }
    skb(bytes, form)
}

/// A frame as a driver would give it to the stack.
pub(super) fn skb(mut bytes: Vec<u8>, form: Form) -> Box<Frame> {
    if bytes.len() < 14 {
        bytes.resize(14, 0);
    }
    let checksum = match form.skb & 3 {
        0 => Checksum::None,
        1 => Checksum::Complete,
        2 => Checksum::Partial,
        // A device that has verified the checksum tells the truth.
        _ if Segment::read(&bytes, true).is_some() => Checksum::Unnecessary,
        _ => Checksum::None,
    };
    let linear = match form.skb >> 2 & 3 {
        0 => 0,
        // The end lies somewhere in the IP or TCP header.
        1 => usize::from(form.skb >> 4) * 2 + 30,
        _ => bytes.len(),
    };
    let mut frame = Frame::new(bytes, linear, checksum);
    frame.fields().vlan_tci = vlan(form).into();
    frame
}

fn deviate(bytes: &mut Vec<u8>, form: Form) {
    match form.odd >> 2 & 7 {
        0 => extend(bytes),
        // A byte is damaged.
        1 => {
            let at = usize::from(form.skb) % bytes.len();
            bytes[at] ^= form.odd << 1 | 1;
        }
        2 => bytes.truncate(bytes.len() - usize::from(form.skb % 64).min(bytes.len())),
        // Padding, as on short frames.
        3 => bytes.extend([0; 6]),
        4 => fragment(bytes),
        _ => {}
    }
}

/// Puts IPv4 options or an IPv6 extension header in.
fn extend(bytes: &mut Vec<u8>) {
    if bytes[12] == 8 {
        bytes.splice(34..34, [1, 1, 1, 0]);
        bytes[14] += 1;
        lengthen(bytes, 16, 4);
        sign(bytes);
    } else {
        bytes.splice(54..54, [6, 0, 1, 4, 0, 0, 0, 0]);
        bytes[20] = 60;
        lengthen(bytes, 18, 8);
    }
}

/// Makes the frame the first of several fragments.
fn fragment(bytes: &mut Vec<u8>) {
    if bytes[12] == 8 {
        bytes[20] |= 0x20;
        sign(bytes);
    } else {
        bytes.splice(54..54, [6, 0, 0, 1, 0, 0, 0, 1]);
        bytes[20] = 44;
        lengthen(bytes, 18, 8);
    }
}

fn lengthen(bytes: &mut [u8], at: usize, by: u16) {
    let length = u16::from_be_bytes([bytes[at], bytes[at + 1]]) + by;
    bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
}

/// Renews the checksum of an IPv4 header.
fn sign(bytes: &mut [u8]) {
    bytes[24..26].fill(0);
    let end = 14 + usize::from(bytes[14] & 0xf) * 4;
    let mut sum: u32 =
        bytes[14..end].chunks(2).map(|it| u32::from(u16::from_be_bytes([it[0], it[1]]))).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    bytes[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
