//! What the programs promise.

use etherparse::{LaxSlicedPacket, NetSlice, SlicedPacket, TransportSlice};
use proxyip_common::{flow::Origin, settings::ListenerSettings};
use proxyip_ebpf::host::{
    frame::{Checksum, Frame},
    sockets::{Kind, Socket},
    wire::{Segment, flags},
};
use proxyip_ebpf::machine::{Fate, Run};

use super::{
    ACCEPT, OBSERVE, Site,
    peer::{GUARDED, Life, Peer},
    settings,
};

/// What tells the kinds of segments apart.
const KIND: u8 = flags::SYN | flags::ACK | flags::RST;

impl Site {
    /// Of one run of the ingress program.
    pub(super) fn check_run(&self, run: &Run) {
        let Some(before) = Segment::read(&run.before, false) else { return };
        if before.destination.port() != GUARDED {
            assert_eq!((run.fate, &run.after), (Fate::Passed, &run.before), "another port's frame");
        }
        let Some(peer) =
            self.peers.iter().find(|peer| peer.ends == (before.source, before.destination))
        else {
            return;
        };
        let unread =
            matches!(run.socket, Some(Kind::Listening | Kind::ListeningMptcp | Kind::Request));
        if !peer.trusted && self.configuration.untrusted.is_multiple_of(3) {
            assert_eq!((run.fate, &run.after), (Fate::Passed, &run.before), "a source to bypass");
        }
        // A connection that cannot be served may be left to the kernel, or observed.
        if !self.is_regular(peer) || run.fate != Fate::Passed || !unread {
            return;
        }
        let after = Segment::read(&run.after, false);
        // TCP discards, or takes no payload of, what is no plain segment with ACK.
        let has_payload = after
            .is_some_and(|after| !after.payload.is_empty() && after.flags & KIND == flags::ACK);
        // A connection that is gone is not opened again, and the kernel answers its segments by a RST.
        let is_gone = peer.life == Life::Gone;
        if has_payload && !is_gone && !matches!(self.choice(), ACCEPT | OBSERVE) {
            let record = self.machine.record(peer.ends.0, peer.ends.1);
            assert!(
                record.is_some() || self.configuration.small_tables,
                "payload was passed before its header was read"
            );
        }
    }

    /// Of what the host knows of its peers.
    pub(super) fn check_peers(&self) {
        for peer in &self.peers {
            self.check_record(peer);
            self.check_application(peer);
        }
    }

    fn check_record(&self, peer: &Peer) {
        let Some(record) = self.machine.record(peer.ends.0, peer.ends.1) else { return };
        assert!(
            peer.trusted && peer.ends.1.port() == GUARDED,
            "a record of a source that is not trusted"
        );
        if !peer.honest {
            return;
        }
        let found = (record.client.0, record.destination.0);
        if record.version == 0 {
            self.check_headerless(peer);
            assert_eq!((record.origin, found), (Origin::Local as u8, peer.ends));
            assert_eq!(record.length_of_header(), 0);
            return;
        }
        let header = peer.header.expect("a record of a header that is none");
        // A header that describes its own connection is the load balancer's own.
        let own =
            header.client.0.words() == peer.ends.0.words() && header.destination.0 == peer.ends.1;
        let origin = match header.origin {
            Origin::Proxied if own => Origin::Local,
            Origin::Unknown if self.has_rule(ListenerSettings::UNKNOWN_IS_LOCAL) => Origin::Local,
            origin => origin,
        };
        let ends = match origin {
            Origin::Proxied => (header.client.0, header.destination.0),
            Origin::Unknown | Origin::Local => peer.ends,
        };
        assert_eq!((record.origin, found), (origin as u8, ends));
        assert_eq!(record.length_of_header(), header.length);
    }

    /// Of a connection that has begun without a header.
    fn check_headerless(&self, peer: &Peer) {
        assert!(
            self.has_rule(ListenerSettings::HEADERLESS_IS_LOCAL),
            "a connection without a header where each must have one"
        );
        assert!(peer.is_headerless(), "a connection without a header, though one had begun");
    }

    fn has_rule(&self, flag: u8) -> bool {
        settings(self.configuration).has(flag)
    }

    /// The application reads what follows the header, and nothing else.
    fn check_application(&self, peer: &Peer) {
        let (own, local) = peer.ends;
        let read = |socket: &Socket| (socket.kind(), socket.received.clone());
        let Some((Kind::Connected, received)) = self.machine.socket(own, local, read) else {
            return;
        };
        if !self.is_regular(peer) {
            return;
        }
        let Some(left) = self.left_out(peer) else { return };
        let rest = &peer.stream[left..];
        assert!(rest.starts_with(&received), "the application reads {}", received.escape_ascii());
    }

    /// How many bytes of an established connection's stream the application does not see; `None` if the connection
    /// may be none of the programs'.
    fn left_out(&self, peer: &Peer) -> Option<usize> {
        match (self.choice(), peer.header) {
            (OBSERVE, _) => Some(0),
            (ACCEPT, _) if self.machine.record(peer.ends.0, peer.ends.1).is_none() => None,
            (_, Some(header)) => Some(header.length as usize),
            (_, None) => {
                self.check_headerless(peer);
                Some(0)
            }
        }
    }

    /// Of the segments that a peer gets: they acknowledge what the application has read, and the header.
    pub(super) fn check_acknowledgments(&self, sent: &[Segment]) {
        for peer in self.peers.iter().filter(|peer| self.is_regular(peer)) {
            let (own, local) = peer.ends;
            let read = |socket: &Socket| (socket.kind(), socket.received.len());
            let Some((Kind::Connected, received)) = self.machine.socket(own, local, read) else {
                continue;
            };
            let mut ours = sent.iter().rev().filter(|segment| {
                (segment.destination, segment.source) == peer.ends
                    && segment.flags & KIND == flags::ACK
            });
            if let (Some(last), Some(left)) = (ours.next(), self.left_out(peer)) {
                let acknowledged = peer.offset_of(last.acknowledgment) as usize;
                assert_eq!(acknowledged, left + received, "what is acknowledged");
            }
        }
    }

    /// Whether nothing has happened to the peer's connection that excuses anything.
    pub(super) fn is_regular(&self, peer: &Peer) -> bool {
        peer.trusted && peer.honest && self.steady && peer.ends.1.port() == GUARDED
    }
}

impl Peer {
    /// Whether a segment's payload is part of the stream.
    pub(super) fn has_sent(&self, segment: &Segment) -> bool {
        let at = self.offset_of(segment.sequence) as usize;
        let end = at.saturating_add(segment.payload.len());
        segment.payload.is_empty() || self.stream.get(at..end) == Some(&segment.payload[..])
    }
}

/// Whether TCP has to drop the frame for its checksum. Where a device vouches for it, there is none to look at.
pub(super) fn is_damaged(frame: &Frame) -> bool {
    matches!(frame.checksum(), Checksum::None | Checksum::Complete)
        && Segment::read(frame.bytes(), false).is_some()
        && Segment::read(frame.bytes(), true).is_none()
}

/// Checks a run on a damaged frame: whatever was changed, TCP still sees that it is damaged.
pub(super) fn check_damaged(run: &Run) {
    assert_ne!(run.fate, Fate::Sent, "a damaged segment is answered");
    assert_eq!(Segment::read(&run.after, true), None, "a damaged segment is made whole");
}

/// Checks a sent frame: it is whole, its checksums are right, and it answers a received frame.
pub(super) fn check_sent(frame: &Frame, runs: &[Run]) {
    let bytes = frame.on_the_wire();
    let packet = SlicedPacket::from_ethernet(&bytes).expect("a whole packet");
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("no TCP segment") };
    let header = tcp.to_header();
    let checksum = match packet.net.as_ref().expect("an IP packet") {
        NetSlice::Ipv4(ip) => {
            let ip = ip.header().to_header();
            assert_eq!(ip.calc_header_checksum(), ip.header_checksum, "the IP header's checksum");
            header.calc_checksum_ipv4(&ip, tcp.payload())
        }
        NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), tcp.payload()),
        NetSlice::Arp(_) => panic!("not IP"),
    };
    assert_eq!(checksum, Ok(tcp.checksum()), "the TCP checksum of an answer");
    let answered = runs.iter().any(|run| answers(&bytes, run));
    assert!(answered, "an answer to nobody");
}

/// Whether the frame goes back to the sender of the received frame. Only addresses and ports count.
fn answers(bytes: &[u8], run: &Run) -> bool {
    let Some(answer) = Segment::read(bytes, true) else { return false };
    let swapped = bytes[..6] == run.before[6..12] && bytes[6..12] == run.before[..6];
    // As the simulated stack, which knows no neighbours, makes all its frames.
    let own = bytes[..12] == [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    if let Some(before) = Segment::read(&run.before, false) {
        let ends = (answer.source, answer.destination);
        return (swapped || own) && ends == (before.destination, before.source);
    }
    // What came may be cut off.
    let before = LaxSlicedPacket::from_ethernet(&run.before);
    let Ok(Some(TransportSlice::Tcp(tcp))) = before.map(|packet| packet.transport) else {
        return swapped;
    };
    let ports = (tcp.destination_port(), tcp.source_port());
    (swapped || own) && (answer.source.port(), answer.destination.port()) == ports
}
