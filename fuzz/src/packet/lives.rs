//! What the programs promise of a connection's whole life: it is opened once, and its end is no secret.

use proxyip_ebpf::host::{
    sockets::{Kind, Socket},
    wire::{Segment, flags},
};

use super::{
    Site,
    input::Flow,
    peer::{Life, Peer},
};

impl Site {
    /// Notes which connections the application has got. A peer that has opened one cannot get another by segments of the
    /// same one.
    pub(super) fn note_openings(&mut self) {
        for index in 0..self.peers.len() {
            let peer = &self.peers[index];
            let (own, local) = peer.ends;
            if self.machine.socket(own, local, Socket::kind) != Some(Kind::Connected) {
                continue;
            }
            // A table without room forgets what has ended.
            let remembers = !self.configuration.small_tables;
            let again = remembers && peer.life == Life::Gone && self.is_regular(peer);
            assert!(!again, "a connection is opened twice");
            self.peers[index].life = Life::Open;
        }
    }

    /// The RST that the peer must get for this segment, because its connection is gone.
    pub(super) fn owed_reset(&mut self, flow: Flow, segment: &Segment) -> Option<Segment> {
        // A helper that fails excuses silence, and a table without room for what has ended.
        let excused =
            self.configuration.small_tables || self.machine.adjust(|state| state.failure != 0);
        let peer = self.of(flow);
        let is_gone = peer.life == Life::Gone && self.is_regular(peer);
        if excused || !is_gone || !calls_for_reset(peer, segment) {
            return None;
        }
        let (own, local) = peer.ends;
        Some(Segment::bare(local, own, segment.acknowledgment, 0, flags::RST))
    }
}

/// Whether a TCP without the connection has to answer by a RST. Nothing tells a late copy of the handshake's bare ACK
/// from one of a handshake in flight, which is not answered.
fn calls_for_reset(peer: &Peer, segment: &Segment) -> bool {
    const KIND: u8 = flags::SYN | flags::ACK | flags::RST;
    segment.flags & KIND == flags::ACK && !peer.is_of_handshake(segment)
}

/// Checks that this RST was sent, and nothing else.
pub(super) fn check_reset(expected: &Segment, sent: &[Segment]) {
    let [answer] = sent else {
        panic!("{} answers to a peer whose connection is gone", sent.len())
    };
    let ends = (answer.source, answer.destination, answer.sequence);
    assert_eq!(ends, (expected.source, expected.destination, expected.sequence));
    assert_ne!(answer.flags & flags::RST, 0, "a RST for a connection that is gone");
}
