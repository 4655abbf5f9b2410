//! Lengths, the numbers of connections that have ended, and layouts.

use super::*;
use core::mem::offset_of;
use core::net::SocketAddr;

#[test]
fn the_longest_header_has_a_length() {
    let flags = FlowRecord::LONG | FlowRecord::TLVS;
    let record = FlowRecord { header_length: 15, flags, ..FlowRecord::EMPTY };
    assert_eq!(record.length_of_header() as usize, crate::header::LONGEST);
    let translation =
        Translation { seen_ns: 0, isn: 0, shift: 15, state: 0, flags: Translation::LONG };
    assert_eq!(translation.ahead() as usize, crate::header::LONGEST);
}

#[test]
fn a_segment_of_a_connection_that_has_ended_is_known_by_its_numbers() {
    let (isn, cookie) = (u32::MAX - 3, u32::MAX - 99);
    let ended = Ended { isn, cookie, received: 1000, sent: cookie.wrapping_add(5001) };
    assert!(ended.began_with(isn, cookie));
    assert!(!ended.began_with(isn.wrapping_add(1), cookie));
    assert!(!ended.began_with(isn, cookie.wrapping_add(1)));
    for acknowledged in [0, 1, 100, 5000] {
        for sequence in [isn, 999, 1000, 70_000, 10_000_000] {
            assert!(ended.has(sequence, cookie.wrapping_add(1 + acknowledged)));
        }
    }
    assert!(!ended.has(1000, cookie), "nothing of its is acknowledged");
    assert!(!ended.has(1000, cookie.wrapping_add(5002)), "it has not sent so much");
    assert!(!ended.has(1000 + (1 << 24), cookie.wrapping_add(1)), "far ahead");
    assert!(!ended.has(999_u32.wrapping_sub(1 << 24), cookie.wrapping_add(1)), "far behind");
}

/// The layout is an interface: `bpftool map dump` and other readers of the pinned map rely on it.
#[test]
fn layout_is_as_documented() {
    assert_eq!((size_of::<FlowKey>(), align_of::<FlowKey>()), (48, 8));
    assert_eq!(offset_of!(FlowKey, peer), 8);
    assert_eq!(offset_of!(FlowKey, local), 28);
    assert_eq!((size_of::<FlowRecord>(), align_of::<FlowRecord>()), (72, 8));
    assert_eq!(offset_of!(FlowRecord, client), 24);
    assert_eq!(offset_of!(FlowRecord, destination), 44);
    assert_eq!(offset_of!(FlowRecord, listener), 64);
    assert_eq!(offset_of!(FlowRecord, version), 68);
    assert_eq!((size_of::<Handshake>(), size_of::<Translation>()), (16, 16));
    assert_eq!((size_of::<TranslatedSocket>(), align_of::<TranslatedSocket>()), (16, 8));
    assert_eq!((size_of::<Ended>(), size_of::<EndedFlow>()), (16, 24));
}

/// At least as evenly as by chance: of so many places, a share of 1/e² would stay empty.
#[test]
fn the_flows_of_a_load_balancer_spread_over_a_table() {
    const PLACES: usize = 1 << 15;
    for (peer, local) in [("10.0.0.2", "10.0.1.2"), ("fd00::2", "fd00:1::2")] {
        let mut used = vec![false; PLACES];
        for port in 0..=u16::MAX {
            let ends = [(peer, port), (local, 443)];
            let [peer, local] = ends.map(|(ip, port)| SocketAddr::new(ip.parse().unwrap(), port));
            let hash = FlowKey::new(4096, peer.into(), local.into()).hash();
            used[usize::try_from(hash).unwrap() % PLACES] = true;
        }
        let empty = used.iter().filter(|used| !**used).count();
        assert!(empty < PLACES * 14 / 100, "{empty} are empty");
    }
}

#[test]
fn each_part_of_a_flow_changes_its_hash() {
    let key = |namespace, [peer, local]: [&str; 2]| {
        let [peer, local] = [peer, local].map(|end| end.parse::<SocketAddr>().unwrap());
        FlowKey::new(namespace, peer.into(), local.into()).hash()
    };
    let hashes = [
        key(1, ["10.0.0.2:5000", "10.0.1.2:443"]),
        key(2, ["10.0.0.2:5000", "10.0.1.2:443"]),
        key(1, ["10.0.0.3:5000", "10.0.1.2:443"]),
        key(1, ["10.0.0.2:5001", "10.0.1.2:443"]),
        key(1, ["10.0.0.2:5000", "10.0.1.3:443"]),
        key(1, ["10.0.0.2:5000", "10.0.1.2:444"]),
        key(1, ["10.0.1.2:443", "10.0.0.2:5000"]),
    ];
    let different: std::collections::BTreeSet<_> = hashes.into_iter().collect();
    assert_eq!(different.len(), hashes.len());
}
