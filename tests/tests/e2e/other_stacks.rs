//! Peers with a TCP other than Linux's.

use proxyip_tests::{HandOff, RawPeer};

use crate::common::header_of_client;
use crate::raw::{DATA, QUESTION, expect_answer, with_echo};

const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
pub(crate) const TIMESTAMPS: u8 = 8;

/// Kinds and values of the options, without no-operations.
pub(crate) fn parse(options: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut rest = options;
    let mut parsed = Vec::new();
    while let [kind, after @ ..] = rest {
        match (kind, after) {
            (0, _) => break,
            (1, _) => rest = after,
            (kind, [length, ..]) => {
                parsed.push((*kind, rest[2..usize::from(*length)].to_vec()));
                rest = &rest[usize::from(*length)..];
            }
            _ => panic!("broken options {options:?}"),
        }
    }
    parsed
}

/// The options of a SYN as each system writes them; the kinds that the SYN-ACK must hold then.
fn layouts() -> Vec<(&'static str, Vec<u8>, &'static [u8])> {
    let mss = [2, 4, 5, 0xb4].as_slice();
    let timestamps = [8, 10, 0, 0, 0, 7, 0, 0, 0, 0].as_slice();
    let all = &[MSS, SACK_PERMITTED, TIMESTAMPS, WINDOW_SCALE];
    vec![
        ("Linux", [mss, &[4, 2], timestamps, &[1, 3, 3, 7]].concat(), all),
        ("FreeBSD", [mss, &[1, 3, 3, 6, 4, 2], timestamps].concat(), all),
        ("macOS", [mss, &[1, 3, 3, 6, 1, 1], timestamps, &[4, 2, 0, 0]].concat(), all),
        ("timestamps first", [timestamps, &[1, 1], mss, &[4, 2, 1, 1]].concat(), &all[..3]),
        (
            "Windows",
            [mss, &[1, 3, 3, 8, 1, 1, 4, 2]].concat(),
            &[MSS, SACK_PERMITTED, WINDOW_SCALE],
        ),
        ("a scale of 15", [mss, &[3, 3, 15, 0]].concat(), &[MSS, WINDOW_SCALE]),
        ("TCP Fast Open", [mss, &[34, 2, 1, 1]].concat(), &[MSS]),
        ("an experiment", [mss, &[254, 4, 0xca, 0xfe]].concat(), &[MSS]),
        ("a length of 0", [mss, &[254, 0, 1, 1]].concat(), &[MSS]),
        ("a length beyond the end", [mss, &[254, 40, 1, 1]].concat(), &[MSS]),
    ]
}

#[test]
fn options_in_every_order() {
    with_echo(HandOff::Auto, &[], |site, _| {
        for (number, (name, options, expected)) in layouts().into_iter().enumerate() {
            let port = 4000 + u16::try_from(number).expect("a few layouts");
            let mut peer = RawPeer::new(site, port, 80);
            let offer = parse(&peer.open(&options).options);
            let mut kinds: Vec<_> = offer.iter().map(|(kind, _)| *kind).collect();
            kinds.sort_unstable();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(kinds, expected, "{name}: {offer:?}");

            // Timestamps agreed on are in every segment (RFC 7323 §3.2); the peer's is echoed.
            let value = offer.iter().find(|(kind, _)| *kind == TIMESTAMPS).map(|(_, value)| value);
            let options = value.map_or_else(Vec::new, |value| {
                assert_eq!(value[4..], [0, 0, 0, 7], "{name}");
                [&[1, 1, 8, 10, 0, 0, 0, 8], &value[..4]].concat()
            });
            peer.send(RawPeer::ACK, &options, &[]);
            peer.send(DATA, &options, &[header_of_client(), QUESTION.to_vec()].concat());
            expect_answer(&mut peer);
            peer.send(RawPeer::FIN | RawPeer::ACK, &options, &[]);
        }
    });
}
