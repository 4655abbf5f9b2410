//! What a cookie says of its flow, and the hash against that of a library.

use super::*;
use core::hash::Hasher;
use core::net::SocketAddr;
use proptest::prelude::*;

const SECRET: Secret = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];

fn ends(port: u16) -> (Peer, Local) {
    let peer: SocketAddr = "10.0.0.2:1".parse().unwrap();
    let local: SocketAddr = "10.0.1.2:443".parse().unwrap();
    (Peer::from(SocketAddr::new(peer.ip(), port)), Local::from(local))
}

fn flow(epoch: u64) -> FlowHash {
    let (peer, local) = ends(40000);
    FlowHash::new(SECRET, epoch, &peer, &local)
}

const OPTIONS: Agreed = Agreed { mss_class: 5, sack: true, window_scale: Some(7) };

proptest! {
    #[test]
    fn siphash_agrees_with_the_siphasher_crate(k0: u64, k1: u64, words: [u64; 5]) {
        let mut oracle = siphasher::sip::SipHasher24::new_with_keys(k0, k1);
        for word in words {
            oracle.write(&word.to_le_bytes());
        }
        prop_assert_eq!(siphash([k0, k1], words), oracle.finish());
    }

    #[test]
    fn options_survive(isn: u32, mss_class in 0u8..8, sack: bool, scale in 0u8..15, scaled: bool) {
        let options = Agreed { mss_class, sack, window_scale: scaled.then_some(scale) };
        let cookie = flow(8).cookie(isn, options);
        prop_assert_eq!(flow(8).check(cookie, isn), Check::Valid(options));
    }

    #[test]
    fn a_stamp_is_the_last_time_with_its_bit(clock: u32, ecn in 0u32..2) {
        let stamp = stamp(clock, ecn);
        prop_assert_eq!(stamp & ECN, ecn);
        prop_assert!(clock.wrapping_sub(stamp) < 2, "{stamp} at {clock}");
    }
}

#[test]
fn later_segments_of_the_flow_are_recognised() {
    let cookie = flow(8).cookie(1000, OPTIONS);
    assert_eq!(flow(8).check(cookie, 1000 + 1460), Check::SameFlow);
}

/// The server counts up from its cookie: what it has sent is acknowledged.
#[test]
fn segments_of_a_connection_that_has_ended_are_foreign() {
    let cookie = flow(8).cookie(1000, OPTIONS);
    let taken = (1..100_000_u32).filter(|sent| {
        let acknowledged = cookie.wrapping_add(*sent);
        flow(epoch_of(acknowledged, 8)).check(acknowledged, 1000 + 300) != Check::Foreign
    });
    let taken: Vec<_> = taken.collect();
    assert!(taken.iter().all(|sent| sent % 256 == 0), "{taken:?}");
    assert!(taken.len() <= 100_000 / 256);
}

#[test]
fn changed_options_are_not_valid() {
    let cookie = flow(8).cookie(1000, OPTIONS);
    assert_eq!(flow(8).check(cookie ^ 1 << 13, 1000), Check::SameFlow);
}

#[test]
fn cookies_of_other_flows_and_secrets_are_foreign() {
    let cookie = flow(8).cookie(1000, OPTIONS);
    let foreign = (0..1000)
        .filter(|port| {
            let (peer, local) = ends(*port);
            FlowHash::new(SECRET, 8, &peer, &local).check(cookie, 1000) == Check::Foreign
        })
        .count();
    // 1 in 256 agrees in the flow tag by chance; none may be valid.
    assert!(foreign > 980, "{foreign}");
}

#[test]
fn a_cookie_lives_for_its_epoch_and_the_next() {
    let cookie = flow(8).cookie(1000, OPTIONS);
    assert_eq!(epoch_of(cookie, 8), 8);
    assert_eq!(epoch_of(cookie, 9), 8);
    assert_eq!(epoch_of(cookie, 10), 10);
    assert_ne!(flow(10).check(cookie, 1000), Check::Valid(OPTIONS));
    assert_eq!(epoch(EPOCH_NS - 1, EPOCH_NS), 0);
    assert_eq!(epoch(EPOCH_NS, EPOCH_NS), 1);
}

#[test]
fn mss_classes_round_down() {
    assert_eq!(Agreed::class_of(535, &MSS_V4), None);
    for (mss, expected) in
        [(536, 536), (1459, 1440), (1460, 1460), (8959, 4056), (8961, 8960), (65495, 8960)]
    {
        let mss_class = Agreed::class_of(mss, &MSS_V4).unwrap();
        assert_eq!(Agreed { mss_class, ..OPTIONS }.mss(&MSS_V4), expected);
    }
    assert!(MSS_V4.is_sorted() && MSS_V6.is_sorted());
}
