//! Cookies that were not given to who shows them, or are too old: no connection comes of them. All come from trusted
//! addresses, with a complete header.

use proxyip_common::{
    cookie::{self, Agreed, Check, EPOCH_NS, FlowHash, SECRETS, Secret},
    counter::Counter,
    settings::HandOffChoice,
};

use super::{
    conversation::{ACCEPT, Conversation, ISN, QUESTION, Way, ends4, ends6},
    endpoint,
    headers::{self, CLIENT},
};

/// With another hand-off allowed, and without.
const WAYS: [Way; 2] =
    [ACCEPT, Way { name: "accept only", choice: HandOffChoice::Accept, ..ACCEPT }];

/// A secret of each slot.
fn secret(slot: u32) -> Secret {
    [0x0123_4567_89ab_cdef ^ u64::from(slot), 0xfedc_ba98_7654_3210]
}

fn new(way: Way) -> Conversation {
    let mut peer = Conversation::new(way, ends4());
    for slot in 0..SECRETS {
        peer.machine.secret(slot, secret(slot));
    }
    peer.wait(8 * EPOCH_NS);
    peer
}

fn hash(peer: &Conversation, epoch: u64) -> FlowHash {
    let slot = u32::try_from(epoch % u64::from(SECRETS)).unwrap();
    let (from, to) = peer.ends;
    FlowHash::new(
        secret(slot),
        epoch,
        &proxyip_common::address::Peer(from),
        &proxyip_common::address::Local(to),
    )
}

fn epoch_now(peer: &mut Conversation) -> u64 {
    cookie::epoch(peer.machine.adjust(|state| state.now_ns), EPOCH_NS)
}

fn first_segment() -> Vec<u8> {
    [headers::v2(), QUESTION.to_vec()].concat()
}

/// Shows a cookie with a complete header; asserts that it is refused, as it has to be. One cookie in 256 has by chance the
/// flow tag of the connection, and is dropped without an answer.
fn expect_refusal(peer: &mut Conversation, cookie: u32) {
    let epoch = cookie::epoch_of(cookie, epoch_now(peer));
    let check = hash(peer, epoch).check(cookie, peer.start.wrapping_sub(1));
    peer.acknowledgment = cookie.wrapping_add(1);
    let answers = peer.send_range(&first_segment(), 0..first_segment().len());
    let what = format!("{}, cookie {cookie:#x}", peer.way.name);
    match check {
        Check::Valid(_) => panic!("{what} is good"),
        Check::SameFlow => assert_eq!(answers, [], "{what}"),
        Check::Foreign => peer.expect_reset(&what, &answers),
    }
    let opened = [Counter::HandedOver, Counter::Established].map(|counter| peer.count(counter));
    assert_eq!((peer.received(), opened, peer.machine.records()), (None, [0, 0], 0), "{what}");
}

/// Shows a cookie that is good.
fn expect_connection(peer: &mut Conversation, cookie: u32) {
    peer.acknowledgment = cookie.wrapping_add(1);
    peer.send_range(&first_segment(), 0..first_segment().len());
    peer.assert_served(CLIENT, QUESTION);
}

#[test]
fn no_bit_of_a_cookie_can_be_changed() {
    for way in WAYS {
        let mut peer = new(way);
        peer.open(&[2, 4, 5, 180]);
        let cookie = peer.acknowledgment.wrapping_sub(1);
        let epoch = epoch_now(&mut peer);
        let agreed = Agreed { mss_class: 5, sack: false, window_scale: None };
        assert_eq!(cookie, hash(&peer, epoch).cookie(ISN, agreed), "as computed here");
        for bit in 0..32 {
            expect_refusal(&mut peer, cookie ^ 1 << bit);
        }
        expect_refusal(&mut peer, cookie ^ 0x0101_0101);
        // MSS class, SACK and window scale are the eight bits before the last. One in 32,768 is good by chance.
        let others = (1..=255_u32).map(|bits| cookie ^ bits << 8);
        let check = |cookie: &u32| hash(&peer, epoch).check(*cookie, ISN) == Check::SameFlow;
        let forged: Vec<_> = others.filter(check).collect();
        assert!(forged.len() > 250);
        for cookie in forged {
            expect_refusal(&mut peer, cookie);
        }
        expect_connection(&mut peer, cookie);
    }
}

#[test]
fn the_cookie_of_another_connection_opens_nothing() {
    for way in WAYS {
        let mut peer = new(way);
        peer.open(&[2, 4, 5, 180]);
        let (cookie, ends) = (peer.acknowledgment.wrapping_sub(1), peer.ends);
        peer.machine.listen(444, false);
        peer.guard_too(444);
        for (from, to) in [
            ("10.0.0.2:40001", "10.0.1.2:443"),
            ("10.0.0.3:40000", "10.0.1.2:443"),
            ("10.0.0.2:40000", "10.0.1.3:443"),
            ("10.0.0.2:40000", "10.0.1.2:444"),
        ] {
            peer.ends = (endpoint(from), endpoint(to));
            expect_refusal(&mut peer, cookie);
        }
        peer.ends = ends6();
        expect_refusal(&mut peer, cookie);
        peer.ends = ends;
        expect_connection(&mut peer, cookie);
    }
}

#[test]
fn a_cookie_of_another_handshake_of_the_same_flow_opens_nothing() {
    for way in WAYS {
        let mut peer = new(way);
        peer.open(&[2, 4, 5, 180]);
        let cookie = peer.acknowledgment.wrapping_sub(1);
        peer.begin_anew();
        expect_refusal(&mut peer, cookie);
    }
}

#[test]
fn only_cookies_of_this_epoch_and_the_one_before_count() {
    let agreed = Agreed { mss_class: 5, sack: true, window_scale: Some(7) };
    for way in WAYS {
        let mut peer = new(way);
        let now = epoch_now(&mut peer);
        // The secret of two epochs ago is in the place of the one after the next.
        for epoch in [now - 4, now - 3, now - 2, now + 1, now + 2] {
            let cookie = hash(&peer, epoch).cookie(ISN, agreed);
            expect_refusal(&mut peer, cookie);
        }
        for epoch in [now - 1, now] {
            let mut peer = new(way);
            let cookie = hash(&peer, epoch).cookie(ISN, agreed);
            expect_connection(&mut peer, cookie);
        }
    }
}

#[test]
fn twenty_thousand_guesses_open_nothing() {
    for way in WAYS {
        let mut peer = new(way);
        let epoch = epoch_now(&mut peer);
        let hash = hash(&peer, epoch);
        // An arbitrary odd number, by whose multiples all values are passed through.
        let guesses = (0..20_000_u32).map(|number| number.wrapping_mul(0x9e37_79b1));
        // About one in 4,000,000 is right.
        for guess in guesses.filter(|guess| !matches!(hash.check(*guess, ISN), Check::Valid(_))) {
            expect_refusal(&mut peer, guess);
            // Slowly enough that all are answered.
            peer.wait(1 << 18);
        }
        let refused = [Counter::CookieForeign, Counter::OutOfOrder].map(|one| peer.count(one));
        assert!(refused.iter().sum::<u64>() >= 19_990, "{refused:?}");
    }
}
