//! What another CPU changes while a program has an element. Since Linux 6.1 the element of what was replaced or removed may
//! be another's at once.

use proxyip_common::{
    address::{Local, Peer as PeerEnd},
    flow::{FlowKey, Translation},
    policy::{PolicyWords, set_word},
    settings::{HandOffChoice, Policy, access},
};

use super::{
    NAMESPACE_COOKIE, endpoint,
    tests::{LINE, Peer},
};
use crate::host::{
    bindings::BPF_ANY,
    frame::{Checksum, Frame},
    sockets::Kind,
    wire::flags,
};
use crate::{
    hooks::iptables,
    kernel::platform::{Basic, Modern},
    state::{networks::SETS, policies::POLICIES, translations::TRANSLATIONS},
};

/// More lookups of a policy than any segment causes.
const LOOKUPS: u32 = 8;

/// Replaces the policy of listener 0 by this one, and then makes one for listener 1, after the given number of lookups.
fn reload_after(lookups: u32, own: Policy, other: Policy) {
    POLICIES.meanwhile(move || {
        if lookups > 0 {
            return reload_after(lookups - 1, own, other);
        }
        for (listener, policy) in [(0, own), (1, other)] {
            let words = PolicyWords::new(listener, &policy);
            POLICIES.insert(u32::from(listener), words, BPF_ANY.into()).unwrap();
        }
    });
}

/// A policy with a verdict on clients that no network has.
fn policy(scope: u32, otherwise: u8) -> Policy {
    Policy { scope, otherwise, judges: 1, ..Policy::default() }
}

#[test]
fn a_client_is_judged_by_its_own_listener_while_policies_are_replaced() {
    for lookups in 0..LOOKUPS {
        for (otherwise, others) in [(access::DENY, access::ALLOW), (access::ALLOW, access::DENY)] {
            let mut peer = Peer::new(HandOffChoice::Auto);
            let own = policy(0, otherwise);
            peer.machine.judge_by(0, own);
            peer.shake_hands::<Modern>();
            // Nobody is trusted in the other's scope.
            reload_after(lookups, own, policy(1, others));
            peer.send::<Modern>(flags::ACK, LINE);
            let served = otherwise == access::ALLOW;
            assert_eq!(peer.received().is_some(), served, "after {lookups} lookups");
        }
    }
}

#[test]
fn a_set_is_looked_up_in_its_own_scope_while_sets_are_replaced() {
    let mut peer = Peer::new(HandOffChoice::Auto);
    peer.machine.make_set(0, 7);
    peer.machine.judge(7, endpoint("10.0.0.2:0"), 128, access::ALLOW);
    SETS.meanwhile(|| {
        for set in [0, 1] {
            SETS.insert(set, set_word(set, 7 + set), BPF_ANY.into()).unwrap();
        }
    });
    let packet = peer.segment(flags::ACK, b"").frame()[14..].to_vec();
    assert!(iptables::has_client(Frame::new(packet, 54, Checksum::None).as_context()));
}

/// A translated connection that is established, and its key.
fn translated() -> (Peer, FlowKey) {
    let mut peer = Peer::new(HandOffChoice::Auto);
    peer.shake_hands::<Basic>();
    peer.send::<Basic>(flags::ACK, LINE);
    let (own, local) = peer.ends;
    (peer, FlowKey::new(NAMESPACE_COOKIE, PeerEnd(own), Local(local)))
}

#[test]
fn a_segment_that_ends_a_translation_changes_no_other() {
    for (flag, kind) in [(flags::SYN, Kind::TimeWait), (flags::RST, Kind::Connected)] {
        let (mut peer, key) = translated();
        let (own, local) = peer.ends;
        peer.machine.occupy(own, local, kind);
        let mut other = key;
        other.peer = PeerEnd(endpoint("10.0.0.3:40000"));
        let living = Translation {
            seen_ns: 0,
            isn: 1,
            shift: 28,
            state: Translation::ESTABLISHED,
            flags: 0,
        };
        TRANSLATIONS.meanwhile(move || {
            TRANSLATIONS.remove(key).unwrap();
            TRANSLATIONS.insert(other, living, BPF_ANY.into()).unwrap();
        });
        peer.send::<Basic>(flag, b"");
        // SAFETY: read at once.
        let left = TRANSLATIONS.get_ptr(other).map(|entry| unsafe { *entry }).unwrap();
        assert_eq!((left.state, left.flags), (living.state, living.flags), "flags {flag:#x}");
        assert!(TRANSLATIONS.get_ptr(key).is_none(), "flags {flag:#x}");
    }
}
