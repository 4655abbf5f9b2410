//! Explicit congestion notification (RFC 3168): what the SYN-ACK agrees to, and what the socket does then.

use super::conversation::{ACCEPT, Conversation, LINUX, QUESTION, SECOND, ends4, ends6};
use super::headers::CLIENT;
use super::segment_tests::stream;
use crate::host::wire::{Segment, flags};

const OFFER: u8 = flags::ECE | flags::CWR;

/// Sends a SYN with these flags beside the flag of a SYN; returns the SYN-ACK.
fn open(peer: &mut Conversation, more: u8, options: &[u8]) -> Segment {
    let mut syn = peer.segment(-1, flags::SYN | more, b"");
    (syn.acknowledgment, syn.options) = (0, options.to_vec());
    let [answer] = &peer.exchange(&syn)[..] else { panic!("one SYN-ACK") };
    peer.acknowledgment = answer.sequence.wrapping_add(1);
    answer.clone()
}

/// The timestamp of a SYN-ACK to a SYN with Linux's options.
fn stamp(answer: &Segment) -> [u8; 4] {
    answer.options[12..16].try_into().expect("four bytes")
}

/// Sends the header and the first words, in two segments or in one; whether the connection uses ECN then.
fn serve(peer: &mut Conversation, cut: usize) -> bool {
    let bytes = stream();
    if cut != 0 {
        peer.send_part(&bytes, 0..cut, cut);
    }
    peer.send_range(&bytes, cut..bytes.len());
    peer.assert_served(CLIENT, QUESTION);
    let (from, to) = peer.ends;
    peer.machine.socket(from, to, |socket| socket.ecn).expect("a connection")
}

#[test]
fn a_socket_uses_ecn_if_its_syn_offered_it() {
    for ends in [ends4(), ends6()] {
        for (more, agreed) in [(OFFER, true), (0, false), (flags::ECE, false), (flags::CWR, false)]
        {
            for (cut, milliseconds) in [(0, 0), (0, 1), (7, 2), (7, 3)] {
                let mut peer = Conversation::new(ACCEPT, ends);
                peer.wait(milliseconds * (SECOND / 1000));
                let answer = open(&mut peer, more, LINUX);
                let expected = flags::SYN | flags::ACK | if agreed { flags::ECE } else { 0 };
                assert_eq!(answer.flags, expected, "to {more:#x}");
                peer.options = [[1, 1, 8, 10, 1, 2, 3, 5].as_slice(), &stamp(&answer)].concat();
                assert_eq!(serve(&mut peer, cut), agreed, "{more:#x} at {milliseconds} ms");
            }
        }
    }
}

/// There is nowhere to remember it.
#[test]
fn without_timestamps_there_is_no_ecn() {
    let mut peer = Conversation::new(ACCEPT, ends4());
    let answer = open(&mut peer, OFFER, &[2, 4, 5, 180]);
    assert_eq!(answer.flags, flags::SYN | flags::ACK);
    assert!(!serve(&mut peer, 0));
}

/// A timestamp from the future would make the socket's own, which come later, look old.
#[test]
fn the_timestamp_is_not_ahead_of_the_clock() {
    for milliseconds in 0..4_u32 {
        for more in [0, OFFER] {
            let mut peer = Conversation::new(ACCEPT, ends4());
            peer.wait(u64::from(milliseconds) * (SECOND / 1000));
            let answer = open(&mut peer, more, LINUX);
            let late = (10_000 + milliseconds).wrapping_sub(u32::from_be_bytes(stamp(&answer)));
            assert!(late < 2, "{late} ms");
        }
    }
}
