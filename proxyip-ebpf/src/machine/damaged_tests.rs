//! Segments that were damaged on their way.

use proxyip_common::counter::DropReason;

use super::{
    Fate,
    conversation::{CONSUMING, Conversation, LINUX, QUESTION, SECOND, ends4, ends6},
    headers::{self, CLIENT},
    segment_tests::stream,
};
use crate::host::{
    frame::{Checksum, Frame},
    wire::{Segment, flags},
};

/// A header damaged on the way names another client.
#[test]
fn a_damaged_header_is_not_believed_and_comes_again() {
    for way in CONSUMING {
        let mut peer = Conversation::opened(way);
        let mut frame = peer.segment(0, flags::ACK, &stream()).frame();
        // Of the client's address.
        frame[14 + 40 + 16 + 3] ^= 1;
        let fates = peer.receive(Frame::new(frame, 54, Checksum::None));
        assert_eq!(fates, [Fate::Dropped], "{}", way.name);
        assert_eq!((peer.received(), peer.drops()), (None, vec![(DropReason::Checksum, 1)]));
        peer.send_range(&stream(), 0..stream().len());
        peer.assert_served(CLIENT, QUESTION);
    }
}

/// What answers it, or makes an ACK of it, writes a right checksum.
#[test]
fn damaged_is_never_made_whole() {
    for way in CONSUMING {
        for ends in [ends4(), ends6()] {
            let mut peer = Conversation::new(way, ends);
            let damaged = |peer: &mut Conversation, segment: &Segment| {
                let mut frame = segment.frame();
                // Of the timestamp's value, or of the window where there is none.
                let tcp = frame.len() - segment.payload.len() - segment.options.len() - 20;
                let at = if segment.options.is_empty() { tcp + 14 } else { tcp + 20 + 8 };
                frame[at] ^= 0x10;
                let length = frame.len();
                let fates = peer.receive(Frame::new(frame, length, Checksum::None));
                assert_eq!(fates, [Fate::Dropped], "{}", peer.way.name);
                assert_eq!(peer.machine.sent().len(), 0, "{}", peer.way.name);
            };
            let mut syn = peer.segment(-1, flags::SYN, b"");
            syn.options = LINUX.to_vec();
            damaged(&mut peer, &syn);
            syn.payload = b"early".to_vec();
            damaged(&mut peer, &syn);
            peer.open(LINUX);
            peer.options = vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
            for (offset, flags, payload) in [
                (0, flags::ACK, &b""[..]),
                (-1, flags::ACK, b""),
                (0, flags::ACK | flags::FIN, b""),
                (0, flags::ACK, &headers::v2()[..7]),
                (0, flags::ACK, &stream()),
            ] {
                let segment = peer.segment(offset, flags, payload);
                damaged(&mut peer, &segment);
            }
            assert_eq!((peer.received(), peer.drops()), (None, vec![(DropReason::Checksum, 7)]));
            // TCP has no room, so the first segment comes again.
            peer.machine.adjust(|state| state.accept_queue_full = true);
            peer.send_range(&stream(), 0..stream().len());
            peer.machine.sent();
            let segment = peer.segment(0, flags::ACK, &stream());
            damaged(&mut peer, &segment);
            peer.machine.adjust(|state| state.accept_queue_full = false);
            peer.wait(SECOND);
            peer.send_range(&stream(), 0..stream().len());
            peer.assert_served(CLIENT, QUESTION);
        }
    }
}
