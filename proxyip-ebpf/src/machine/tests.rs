//! What the programs do, in the simulated kernel.

use proxyip_common::{
    address::Endpoint,
    cookie::EPOCH_NS,
    flow::{HandOff, Origin},
    settings::{HandOffChoice, ListenerSettings, NamespaceSettings},
};

use super::{Fate, Machine, Run, endpoint};
use crate::host::{
    frame::{Checksum, Frame},
    sockets::{Kind, Socket},
    wire::{Segment, flags},
};
use crate::kernel::platform::{Basic, Modern, Platform};

pub(super) const LINE: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n";
const ISN: u32 = 0xffff_fff0;

/// A load balancer that connects to the host.
pub(super) struct Peer {
    pub(super) machine: Machine,
    pub(super) ends: (Endpoint, Endpoint),
    next: u32,
    acknowledged: u32,
}

impl Peer {
    pub(super) fn new(choice: HandOffChoice) -> Self {
        let mut machine = Machine::new(NamespaceSettings {
            cookie: 0,
            epoch_ns: EPOCH_NS,
            nat_since_ns: 0,
            timestamp_offset: 0,
            window: 65_535,
            window_scale: 7,
            flags: 0x1f,
        });
        let flags = ListenerSettings::V1 | ListenerSettings::V2;
        let hand_off = choice as u8;
        let settings = ListenerSettings {
            flags,
            hand_off,
            header_timeout_ns: 5_000_000_000,
            ..ListenerSettings::default()
        };
        machine.guard(443, 0, settings);
        machine.trust(0, endpoint("10.0.0.0:0"), 96 + 8, true);
        machine.listen(443, false);
        let ends = (endpoint("10.0.0.2:40000"), endpoint("10.0.1.2:443"));
        Self { machine, ends, next: ISN, acknowledged: 0 }
    }

    pub(super) fn segment(&self, flags: u8, payload: &[u8]) -> Segment {
        let (peer, local) = self.ends;
        let mut segment = Segment::bare(peer, local, self.next, self.acknowledged, flags);
        segment.payload = payload.to_vec();
        segment
    }

    pub(super) fn send<P: Platform>(&mut self, flags: u8, payload: &[u8]) -> Vec<Run> {
        self.send_as::<P>(flags, payload, Checksum::Complete)
    }

    fn send_as<P: Platform>(&mut self, flags: u8, payload: &[u8], checksum: Checksum) -> Vec<Run> {
        let frame = Frame::new(self.segment(flags, payload).frame(), 54, checksum);
        self.machine.receive::<P>(frame)
    }

    /// What has come back, its checksums right.
    pub(super) fn answer(&mut self) -> Segment {
        let sent = self.machine.sent();
        let [frame] = &sent[..] else { panic!("{} answers", sent.len()) };
        Segment::read(&frame.on_the_wire(), true).expect("a whole segment with right checksums")
    }

    pub(super) fn shake_hands<P: Platform>(&mut self) {
        self.send::<P>(flags::SYN, b"");
        let answer = self.answer();
        assert_eq!(answer.flags, flags::SYN | flags::ACK);
        assert_eq!(answer.acknowledgment, ISN.wrapping_add(1));
        assert_eq!((answer.destination, answer.source), self.ends);
        self.next = answer.acknowledgment;
        self.acknowledged = answer.sequence.wrapping_add(1);
        let runs = self.send::<P>(flags::ACK, b"");
        assert_eq!(runs[0].fate, Fate::Dropped, "the bare ACK is held back");
    }

    /// Takes the numbers of the SYN-ACK that has come back.
    pub(super) fn take_up(&mut self) {
        let answer = self.answer();
        (self.next, self.acknowledged) = (answer.acknowledgment, answer.sequence.wrapping_add(1));
    }

    pub(super) fn received(&self) -> Option<Vec<u8>> {
        let (peer, local) = self.ends;
        self.machine.socket(peer, local, |socket: &Socket| socket.received.clone())
    }
}

#[test]
fn a_connection_that_is_accepted() {
    let mut peer = Peer::new(HandOffChoice::Auto);
    peer.shake_hands::<Modern>();
    assert_eq!(peer.received(), None, "no socket before the header");
    let runs = peer.send::<Modern>(flags::ACK, &[LINE, b"GET /"].concat());
    assert_eq!(runs.iter().map(|run| run.fate).collect::<Vec<_>>(), [Fate::Passed, Fate::Passed]);
    assert_eq!(peer.received().as_deref(), Some(&b"GET /"[..]));
    let record = peer.machine.record(peer.ends.0, peer.ends.1).unwrap();
    assert_eq!(record.client.0, endpoint("203.0.113.9:51234"));
    assert_eq!((record.origin, record.hand_off), (Origin::Proxied as u8, HandOff::Accept as u8));
    assert_ne!(record.client.0, peer.ends.0);
    let acknowledged = peer.answer().acknowledgment.wrapping_sub(ISN.wrapping_add(1));
    assert_eq!(acknowledged as usize, LINE.len() + 5);
}

#[test]
fn a_connection_that_is_translated() {
    let mut peer = Peer::new(HandOffChoice::Auto);
    peer.shake_hands::<Basic>();
    assert_eq!(peer.machine.socket(peer.ends.0, peer.ends.1, Socket::kind), Some(Kind::Request));
    peer.send::<Basic>(flags::ACK, LINE);
    let answer = peer.answer();
    let acknowledged = answer.acknowledgment.wrapping_sub(peer.next);
    assert_eq!(acknowledged as usize, LINE.len());
    let sack = [peer.next.to_be_bytes(), answer.acknowledgment.to_be_bytes()].concat();
    assert_eq!(answer.options[4..], sack, "both edges of a SACK block are raised");
    peer.next = peer.next.wrapping_add(acknowledged);
    peer.send::<Basic>(flags::ACK, b"GET /");
    assert_eq!(peer.received().as_deref(), Some(&b"GET /"[..]));
    let acknowledged = peer.answer().acknowledgment.wrapping_sub(peer.next);
    assert_eq!(acknowledged, 5);
}

#[test]
fn a_connection_that_is_observed() {
    let mut peer = Peer::new(HandOffChoice::Observe);
    peer.send::<Modern>(flags::SYN, b"");
    peer.take_up();
    peer.send::<Modern>(flags::ACK, b"");
    peer.send::<Modern>(flags::ACK, LINE);
    assert_eq!(peer.received().as_deref(), Some(LINE), "the header is left in place");
    let record = peer.machine.record(peer.ends.0, peer.ends.1).unwrap();
    assert_eq!(record.client.0, endpoint("203.0.113.9:51234"));
}

#[test]
fn a_bad_header_is_answered_with_a_reset() {
    use Checksum::{Complete, None, Partial, Unnecessary};
    for checksum in [None, Unnecessary, Complete, Partial] {
        let mut peer = Peer::new(HandOffChoice::Accept);
        peer.shake_hands::<Modern>();
        let runs = peer.send_as::<Modern>(flags::ACK, b"GET / HTTP/1.1\r\n", checksum);
        assert_eq!(runs[0].fate, Fate::Sent);
        let answer = peer.answer();
        assert_eq!((answer.flags, answer.sequence), (flags::RST, peer.acknowledged));
        assert_eq!(peer.machine.records(), 0);
    }
}

#[test]
fn a_damaged_segment_is_dropped() {
    let mut peer = Peer::new(HandOffChoice::Accept);
    peer.shake_hands::<Modern>();
    let mut bytes = peer.segment(flags::ACK, LINE).frame();
    *bytes.last_mut().unwrap() ^= 1;
    let runs = peer.machine.receive::<Modern>(Frame::new(bytes, 54, Checksum::None));
    assert_eq!(runs[0].fate, Fate::Dropped);
    assert_eq!(peer.machine.records(), 0);
}

#[test]
fn helpers_that_fail_leave_nothing_behind() {
    for failure in 1..12 {
        let mut peer = Peer::new(HandOffChoice::Accept);
        peer.shake_hands::<Modern>();
        peer.machine.adjust(|state| state.failure = failure);
        peer.send::<Modern>(flags::ACK, LINE);
        let (records, socket) = (peer.machine.records(), peer.received());
        assert_eq!(records == 1, socket.is_some(), "failure {failure}");
        peer.machine.adjust(|state| state.failure = 0);
        peer.send::<Modern>(flags::ACK, LINE);
        assert_eq!(peer.received().as_deref(), Some(&b""[..]), "the next try, failure {failure}");
    }
}

#[test]
fn a_reset_that_is_passed_agrees_with_the_sum_of_the_device() {
    let mut peer = Peer::new(HandOffChoice::Translate);
    let (own, local) = peer.ends;
    peer.machine.occupy(own, local, Kind::Request);
    // Without options, so that the RST is as long as the segment.
    let runs = peer.send::<Modern>(flags::ACK, b"");
    assert_eq!(runs[0].fate, Fate::Passed, "in the peer's name, to a handshake that is not known");
    assert_eq!(peer.answer().flags, flags::RST);
}
