//! A flood of forged acknowledgments: answers are bounded, and who has a cookie is served all the while.

use proxyip_common::counter::Counter;

use super::{
    conversation::{ACCEPT, Conversation, LINUX, QUESTION, ends4, ends6},
    headers::{self, CLIENT},
    xdp_tests::seen,
};
use crate::{host::wire::flags, state::floods::MOST};

/// A window, in nanoseconds.
const WINDOW: u64 = 1 << 27;
/// Answered, not answered, and not answered at XDP.
const COUNTED: [Counter; 3] = [
    Counter::CookieForeign,
    Counter::CookieForeignUnanswered,
    Counter::CookieForeignUnansweredAtXdp,
];

fn counts(peer: &Conversation) -> [u64; 3] {
    COUNTED.map(|counter| peer.count(counter))
}

/// Sends bare ACKs of numbers that nobody has sent. Returns how many are answered.
fn flood(peer: &mut Conversation, segments: u32) -> usize {
    let before = peer.acknowledgment;
    let mut answers = 0;
    for number in 0..segments {
        peer.acknowledgment = number.wrapping_mul(0x9e37_79b9);
        let sent = peer.send(0, flags::ACK, b"");
        assert!(sent.iter().all(|answer| answer.flags == flags::RST), "{sent:?}");
        answers += sent.len();
    }
    peer.acknowledgment = before;
    answers
}

fn expect_service(peer: &mut Conversation) {
    peer.begin_anew();
    peer.open(LINUX);
    let first = [headers::v2(), QUESTION.to_vec()].concat();
    peer.send_range(&first, 0..first.len());
    peer.assert_served(CLIENT, QUESTION);
}

#[test]
fn forged_acknowledgments_are_answered_at_a_bounded_rate() {
    let most = u64::from(MOST);
    for ends in [ends4(), ends6()] {
        let mut peer = Conversation::new(ACCEPT, ends);
        let until_next = WINDOW - peer.machine.adjust(|state| state.now_ns) % WINDOW;
        peer.wait(until_next);
        assert_eq!(flood(&mut peer, 2 * MOST), MOST as usize);
        let [answered, unanswered, at_xdp] = counts(&peer);
        assert_eq!((answered, at_xdp), (most, 0));
        // One number in 256 has the flow's tag by chance, and waits for its header.
        assert!(unanswered > most * 9 / 10, "{unanswered}");
        peer.wait(WINDOW);
        assert_eq!(flood(&mut peer, 1), 1, "a flood that has ended");
        assert_eq!(counts(&peer), [most + 1, unanswered, 0]);
    }
}

#[test]
fn in_a_flood_they_are_dropped_at_xdp_and_whoever_has_a_cookie_is_served() {
    let most = u64::from(MOST);
    for ends in [ends4(), ends6()] {
        let mut peer = seen(ends);
        flood(&mut peer, 2 * MOST);
        let [answered, unanswered, at_xdp] = counts(&peer);
        assert_eq!(answered, most);
        assert!(at_xdp > most * 9 / 10 && at_xdp == unanswered, "{at_xdp} of {unanswered}");
        expect_service(&mut peer);
    }
}
