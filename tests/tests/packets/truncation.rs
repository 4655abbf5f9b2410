//! Frames cut off at every byte.

use proxyip_common::counter::{DropReason, Obstacle};
use proxyip_common::flow::HandOff;

use crate::case::Case;
use crate::flags::at;
use crate::trial::hold;
use proxyip_tests::bench::{
    AUTO, FAMILIES, Family, Kernel, PLAIN, Program, TRANSLATE, cookie_of, first, handshake,
    linux_options,
};
use proxyip_tests::packet::{ETHERNET, Packet};

#[test]
fn truncation() {
    hold("truncation", || {
        let mut cases = Vec::new();
        for family in FAMILIES {
            let plain = family.syn(AUTO).with(|syn| syn.payload = vec![b'x'; 20]);
            let linux = family.syn(AUTO).with(|syn| syn.options = linux_options());
            cases.extend(syns(family, &plain));
            cases.extend(syns(family, &linux));
            cases.extend(headers(family));
            for program in Program::INGRESS {
                cases.extend(translated(family, program));
            }
        }
        cases
    });
}

/// The frame's beginnings, each with its length. Those without a whole IP header the kernel does not let programs run
/// with.
fn beginnings(packet: &Packet) -> Vec<(usize, Vec<u8>)> {
    let ip = if packet.is_ipv4() { 20 } else { 40 };
    let frame = packet.frame();
    (ETHERNET + ip..frame.len()).map(|length| (length, frame[..length].to_vec())).collect()
}

/// Bytes up to the end of the TCP header without options.
fn fixed(family: Family) -> usize {
    ETHERNET + usize::from(family.headers())
}

/// A SYN must be there whole: its checksum covers all of it.
fn syns(family: Family, syn: &Packet) -> Vec<Case> {
    let mut cases = Vec::new();
    for (length, frame) in beginnings(syn) {
        let what = at(&format!("{length} bytes of a SYN"), family, AUTO);
        let case = Case::new(what, Program::Ingress, frame);
        let read = length >= fixed(family);
        cases.push(if read { case.dropped(DropReason::Checksum) } else { case });
    }
    cases
}

/// A header must be there whole, and its checksum right.
fn headers(family: Family) -> Vec<Case> {
    let syn = family.syn(AUTO);
    let packet = first(&syn, cookie_of(&syn, PLAIN), &family.header());
    let mut cases = Vec::new();
    for (length, frame) in beginnings(&packet) {
        let what = at(&format!("{length} bytes of a header"), family, AUTO);
        let case = Case::new(what, Program::Ingress, frame);
        let read = length >= fixed(family);
        cases.push(if read { case.dropped(DropReason::Checksum) } else { case });
    }
    cases
}

/// The same where the kernel does the handshake.
fn translated(family: Family, program: Program) -> Vec<Case> {
    let mut cases = Vec::new();
    let syn = family.syn(TRANSLATE).with(|syn| syn.options = linux_options());
    for (length, frame) in beginnings(&syn) {
        let what = at(&format!("{length} bytes of a SYN"), family, TRANSLATE);
        let case = Case::new(what, program, frame);
        let read = length >= fixed(family);
        cases.push(if read { case.dropped(DropReason::Checksum) } else { case });
    }
    let syn = family.syn(TRANSLATE);
    let packet = first(&syn, 1, &family.header());
    let entry = handshake(&syn, HandOff::Translate, Obstacle::Configured);
    for (length, frame) in beginnings(&packet) {
        let what = at(&format!("{length} bytes of a header"), family, TRANSLATE);
        let case = Case::new(what, program, frame).before([entry]);
        let case =
            if length == fixed(family) { case.kernel(Kernel::Listening, &syn) } else { case };
        let read = length >= fixed(family);
        cases.push(if read { case.dropped(DropReason::Checksum) } else { case });
    }
    cases
}
