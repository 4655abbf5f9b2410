//! What is counted of connections: how they end, and how long their headers take.

use proxyip_common::{
    counter::{DropReason, per_listener},
    latency::{BUCKETS, bucket},
    settings::{Denied, Policy, access},
    verdict::Verdict,
};

use super::{
    conversation::{
        ACCEPT, BASIC, CONSUMING, Conversation, LINUX, OBSERVE, TRANSLATE, Way, ends4, ends6,
    },
    endpoint, headers,
};

/// Every way to the application.
const WAYS: [Way; 4] = [ACCEPT, TRANSLATE, BASIC, OBSERVE];
/// Nanoseconds in a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// The connections of the listener that were counted: version of the header, verdict, number.
fn outcomes(peer: &Conversation) -> Vec<(u8, Verdict, u64)> {
    let mut counted = Vec::new();
    for hand_off in 0..per_listener::HAND_OFFS {
        for (version, verdict) in
            (0..3).flat_map(|version| Verdict::ALL.map(|verdict| (version, verdict)))
        {
            let index = per_listener::outcome(hand_off, version, verdict);
            let number = peer.machine.listener_counted(0, index);
            if number != 0 {
                assert_eq!(hand_off, peer.way.hand_off as u8, "{}", peer.way.name);
                counted.push((version, verdict, number));
            }
        }
    }
    counted
}

/// The headers of the listener: how many are in each bucket that has any, and the sum of their times.
fn latency(peer: &Conversation) -> (Vec<(u32, u64)>, u64) {
    let of = |bucket| peer.machine.listener_counted(0, per_listener::LATENCY + bucket);
    let buckets = (0..BUCKETS).map(|bucket| (bucket, of(bucket)));
    let sum = peer.machine.listener_counted(0, per_listener::LATENCY_SUM);
    (buckets.filter(|(_, number)| *number != 0).collect(), sum)
}

fn denying(way: Way, denied: Denied) -> Conversation {
    let mut peer = Conversation::new(way, ends4());
    let policy = Policy {
        denied: denied as u8,
        otherwise: access::ALLOW,
        judges: 1,
        mark: 0x10,
        ..Policy::default()
    };
    peer.machine.judge_by(0, policy);
    peer.machine.judge(0, endpoint("203.0.113.9:0"), 128, access::DENY);
    peer
}

/// Another connection to the same listener, whose header is this.
fn connect(peer: &mut Conversation, port: u16, header: &[u8]) {
    let (source, local) = ends4();
    peer.ends = (endpoint(&format!("10.0.0.2:{port}")), local);
    assert_ne!(peer.ends.0, source);
    peer.open(&[]);
    peer.send_range(header, 0..header.len());
}

#[test]
fn accepted_and_denied_connections_are_counted_by_version_and_verdict() {
    for (way, denied, as_denied) in WAYS.into_iter().flat_map(|way| {
        [
            (way, Denied::Reset, Verdict::Reset),
            (way, Denied::Drop, Verdict::Drop),
            (way, Denied::Mark, Verdict::Mark),
        ]
    }) {
        let mut peer = denying(way, denied);
        let neighbour = String::from_utf8(headers::v1()).unwrap().replace("113.9", "113.8");
        for port in 1..=2 {
            connect(&mut peer, port, neighbour.as_bytes());
        }
        connect(&mut peer, 3, &headers::v2_with_checksum());
        connect(&mut peer, 4, &headers::v1());
        for port in 5..=6 {
            connect(&mut peer, port, &headers::v2());
        }
        // One that is denied and tries again is no further connection, unless it has to be reset again.
        if denied == Denied::Drop {
            peer.send_range(&headers::v2(), 0..headers::v2().len());
        }
        connect(&mut peer, 7, b"no header at all\n");
        let mut expected = vec![
            (0, Verdict::Reset, 1),
            (1, Verdict::Accept, 2),
            (1, as_denied, 1),
            (2, Verdict::Accept, 1),
            (2, as_denied, 2),
        ];
        expected.sort_by_key(|(version, verdict, _)| (*version, *verdict as u8));
        assert_eq!(outcomes(&peer), expected, "{}, {denied:?}", way.name);
    }
}

/// A connection whose header comes in parts, each after a pause.
fn pausing(way: Way, parts: &[&[u8]], pause: u64) -> Conversation {
    let mut peer = Conversation::new(way, ends4());
    speak(&mut peer, parts, pause);
    peer
}

fn speak(peer: &mut Conversation, parts: &[&[u8]], pause: u64) {
    let answer = peer.syn(LINUX);
    if let [.., 8, 10, a, b, c, d, _, _, _, _] = answer.options[..] {
        // The clock of the SYN-ACK comes back.
        peer.options = vec![1, 1, 8, 10, 0, 0, 0, 9, a, b, c, d];
    }
    let mut at = 0;
    for part in parts {
        peer.wait(pause);
        peer.send(at, crate::host::wire::flags::ACK, part);
        at += part.len() as i32;
    }
}

#[test]
fn a_late_header_is_in_the_bucket_of_its_time() {
    for way in WAYS {
        for pause in [0, 1, 300, 8000].map(|milliseconds| milliseconds * MILLISECOND) {
            let peer = pausing(way, &[&headers::v2()], pause);
            let expected = (vec![(bucket(pause), 1)], pause);
            assert_eq!(latency(&peer), expected, "{}", way.name);
        }
    }
}

#[test]
fn a_header_in_parts_counts_when_it_is_complete() {
    for way in WAYS {
        let pause = 300 * MILLISECOND;
        let header = headers::v2();
        let peer = pausing(way, &[&header[..10]], pause);
        assert_eq!(latency(&peer), (vec![], 0), "{}", way.name);
        let peer = pausing(way, &[&header[..10], &header[10..]], pause);
        assert_eq!(latency(&peer), (vec![(bucket(2 * pause), 1)], 2 * pause), "{}", way.name);
    }
}

/// Of a handshake without timestamps accept remembers nothing.
#[test]
fn without_timestamps_accept_does_not_know() {
    for way in WAYS {
        let mut peer = Conversation::new(way, ends6());
        peer.open(&[]);
        peer.wait(300 * MILLISECOND);
        peer.send_range(&headers::v2(), 0..headers::v2().len());
        peer.assert_served(headers::CLIENT, &peer.received().unwrap());
        let knows = way.name != ACCEPT.name;
        assert_eq!(latency(&peer).0.len(), usize::from(knows), "{}", way.name);
    }
}

#[test]
fn refused_headers_do_not_count() {
    for way in WAYS {
        for header in [headers::v2(), b"no header at all\n".to_vec()] {
            let mut peer = denying(way, Denied::Reset);
            speak(&mut peer, &[&header], MILLISECOND);
            assert_eq!(peer.drops().len(), 1, "{}", way.name);
            assert_eq!(latency(&peer), (vec![], 0), "{}", way.name);
        }
    }
}

/// As of a peer whose connection finds the accept queue full.
#[test]
fn a_header_that_is_sent_again_counts_once() {
    for way in CONSUMING {
        let mut peer = Conversation::new(way, ends4());
        peer.machine.adjust(|state| state.accept_queue_full = true);
        speak(&mut peer, &[&headers::v2()], MILLISECOND);
        for _ in 0..2 {
            peer.wait(200 * MILLISECOND);
            peer.send_range(&headers::v2(), 0..headers::v2().len());
        }
        peer.machine.adjust(|state| state.accept_queue_full = false);
        peer.wait(200 * MILLISECOND);
        peer.send_range(&headers::v2(), 0..headers::v2().len());
        assert!(peer.received().is_some(), "{}", way.name);
        assert_eq!(latency(&peer), (vec![(0, 1)], MILLISECOND), "{}", way.name);
        let (accepted, others): (Vec<_>, Vec<_>) =
            outcomes(&peer).into_iter().partition(|(_, verdict, _)| *verdict == Verdict::Accept);
        assert_eq!((accepted, others), (vec![(2, Verdict::Accept, 1)], vec![]), "{}", way.name);
        let drops = peer.drops();
        assert!(
            drops.iter().all(|(reason, _)| *reason == DropReason::PayloadWithoutSocket),
            "{drops:?}"
        );
    }
}
