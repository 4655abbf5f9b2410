//! Ports whose connections are translated for a while.

use proxyip_common::{
    counter::{DropReason, Obstacle, per_listener},
    settings::{Fallback, HandOffChoice, ListenerSettings, PlacedPort},
};

use super::{
    Fate, NAMESPACE_COOKIE, endpoint,
    tests::{LINE, Peer},
};
use crate::host::wire::flags;
use crate::kernel::platform::Modern;

const SECOND: u64 = 1_000_000_000;
const UNTIL: u64 = 160 * SECOND;
const HERE: PlacedPort = PlacedPort::new(NAMESPACE_COOKIE, 443);

/// A listener of two ports, some of whose connections the stack refuses.
fn refused(choice: HandOffChoice, at: PlacedPort) -> Peer {
    fallen_back(choice, at, Obstacle::StackRefuses)
}

fn fallen_back(choice: HandOffChoice, at: PlacedPort, reason: Obstacle) -> Peer {
    let mut peer = Peer::new(choice);
    let settings = ListenerSettings {
        flags: ListenerSettings::V1 | ListenerSettings::V2 | ListenerSettings::FALLS_BACK,
        hand_off: choice as u8,
        header_timeout_ns: 5 * SECOND,
        ..ListenerSettings::default()
    };
    peer.machine.guard(443, 0, settings);
    peer.machine.guard(80, 0, settings);
    peer.machine.listen(80, false);
    peer.machine.fall_back(at, Fallback::new(UNTIL, reason as u8));
    peer.machine.adjust(|state| state.now_ns = 100 * SECOND);
    peer
}

/// Whether a SYN passes to the kernel, which answers it: the connection will be translated.
fn is_translated(peer: &mut Peer) -> bool {
    let runs = peer.send::<Modern>(flags::SYN, b"");
    peer.machine.sent();
    runs[0].fate == Fate::Passed
}

#[test]
fn one_port_of_one_namespace_is_translated_until_then() {
    for (at, local, seconds, expected) in [
        (HERE, "10.0.1.2:443", 100, true),
        (HERE, "10.0.1.2:443", 159, true),
        (HERE, "10.0.1.2:443", 160, false),
        (HERE, "10.0.1.2:80", 100, false),
        (PlacedPort::new(NAMESPACE_COOKIE + 1, 443), "10.0.1.2:443", 100, false),
        (PlacedPort::new(NAMESPACE_COOKIE, 80), "10.0.1.2:80", 100, true),
    ] {
        let mut peer = refused(HandOffChoice::Auto, at);
        peer.ends.1 = endpoint(local);
        peer.machine.adjust(|state| state.now_ns = seconds * SECOND);
        assert_eq!(is_translated(&mut peer), expected, "{at:?}: {local} after {seconds} s");
    }
}

#[test]
fn only_auto_falls_back() {
    for (choice, expected) in [
        (HandOffChoice::Auto, true),
        (HandOffChoice::Accept, false),
        (HandOffChoice::Translate, true),
        (HandOffChoice::Observe, true),
    ] {
        assert_eq!(is_translated(&mut refused(choice, HERE)), expected, "{choice:?}");
    }
}

#[test]
fn a_connection_that_falls_back_is_served_and_counted() {
    for reason in [Obstacle::StackRefuses, Obstacle::Delayed] {
        let mut peer = fallen_back(HandOffChoice::Auto, HERE, reason);
        peer.send::<Modern>(flags::SYN, b"");
        peer.take_up();
        peer.send::<Modern>(flags::ACK, b"");
        peer.send::<Modern>(flags::ACK, &[LINE, b"GET /"].concat());
        assert_eq!(peer.received().as_deref(), Some(&b"GET /"[..]));
        let translated = per_listener::TRANSLATE + reason as u32;
        assert_eq!(peer.machine.listener_counted(0, translated), 1);
    }
}

/// Its peer has a cookie of ours. Without a RST it would wait for the stack, which refuses.
#[test]
fn a_handshake_from_before_is_reset_while_the_port_falls_back() {
    for (seconds, dropped, received) in [(100, 1, None), (160, 0, Some(&b""[..]))] {
        let mut peer = refused(HandOffChoice::Auto, HERE);
        peer.machine.adjust(|state| state.now_ns = UNTIL);
        peer.shake_hands::<Modern>();
        peer.machine.adjust(|state| state.now_ns = seconds * SECOND);
        peer.send::<Modern>(flags::ACK, LINE);
        assert_eq!(peer.machine.dropped(DropReason::StackRefuses), dropped);
        assert_eq!(peer.received().as_deref(), received);
    }
}

/// The stack takes these, though late: nothing is lost.
#[test]
fn a_handshake_from_before_is_served_while_later_ones_are_translated_because_of_a_delay() {
    let mut peer = fallen_back(HandOffChoice::Auto, HERE, Obstacle::Delayed);
    peer.machine.adjust(|state| state.now_ns = UNTIL);
    peer.shake_hands::<Modern>();
    peer.machine.adjust(|state| state.now_ns = 100 * SECOND);
    peer.send::<Modern>(flags::ACK, LINE);
    assert_eq!(peer.received().as_deref(), Some(&b""[..]));
    assert_eq!(peer.machine.dropped(DropReason::StackRefuses), 0);
}
