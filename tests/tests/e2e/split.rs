//! Headers that come in several segments.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use proxyip_tests::header::{self, CRC32C, NOOP, tlv, v2_with, with_checksum};
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, is_reset, turn};

use crate::common::{
    CLIENT, CLIENT6, DESTINATION, DESTINATION6, assert_both, assert_echoed, auto_and_translate,
    expect_names, header_of_client, on_ipv6_socket, pattern, socket_address, trusted_dial,
    trusted_dial6,
};
use crate::raw::QUESTION;

auto_and_translate!(byte_by_byte, what_is_behind_the_header_arrives_whole);

/// A version 2 header of 36 bytes of addresses, TLVs and a checksum.
fn v2_with_checksum() -> Vec<u8> {
    let tlvs = [tlv(CRC32C, &[0; 4]), tlv(NOOP, &[0; 9]), tlv(0x02, b"example.com")].concat();
    with_checksum(v2_with(socket_address(CLIENT6), socket_address(DESTINATION6), &tlvs), 16 + 36)
}

/// Of each kind one, with the client that it names.
fn headers() -> [(&'static str, Vec<u8>, &'static str); 3] {
    let v1 = header::v1(socket_address(CLIENT), socket_address(DESTINATION));
    [
        ("version 1", v1, CLIENT),
        ("version 2, IPv4", header_of_client(), CLIENT),
        ("version 2, IPv6 with TLVs and checksum", v2_with_checksum(), CLIENT6),
    ]
}

/// Every test here: an echo server on port 80 that has both families, guarded.
fn with_server(guard: &Guard, drops: &[(&str, u64)], test: impl FnOnce(&Site, &Agent)) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, guard);
    test(&site, &agent);
    site.finish(&mut agent, drops);
}

/// The longest wait for an answer, if there is one.
pub(crate) const SOON: Duration = Duration::from_secs(2);

/// A header, and the first words behind it.
pub(crate) fn first_segment() -> Vec<u8> {
    [header_of_client(), QUESTION.to_vec()].concat()
}

/// Sends each part in a separate segment.
pub(crate) fn send_parts(mut stream: &TcpStream, parts: &[&[u8]]) {
    for part in parts {
        stream.write_all(part).expect("cannot send");
    }
}

fn byte_by_byte(hand_off: HandOff) {
    let _alone = turn::alone();
    with_server(&Guard::ports(&[80]).hand_off(hand_off), &[], |site, agent| {
        for (what, header, client) in headers() {
            let mut durations: Vec<_> = (0..21)
                .map(|_| {
                    let stream = trusted_dial(80).open(&site.net.balancer);
                    let start = Instant::now();
                    let bytes: Vec<_> = header.iter().map(std::slice::from_ref).collect();
                    send_parts(&stream, &bytes);
                    send_parts(&stream, &[QUESTION]);
                    assert_both(expect_names(&stream), on_ipv6_socket(client));
                    start.elapsed()
                })
                .collect();
            durations.sort();
            let (best, median) = (durations[0], durations[durations.len() / 2]);
            eprintln!("{what}: {} segments, {best:?} at best, {median:?} median", header.len());
            // A retransmission alone would take 200 ms.
            assert!(median < Duration::from_millis(20), "{what}: {durations:?}");
        }
        let bytes: usize = headers().iter().map(|(_, header, _)| header.len() - 1).sum();
        let parts = u64::try_from(bytes * 21).expect("a count");
        assert!(agent.counter("header_part") >= parts);
        site.assert_swift();
    });
}

fn what_is_behind_the_header_arrives_whole(hand_off: HandOff) {
    with_server(&Guard::ports(&[80]).hand_off(hand_off), &[], |site, agent| {
        let header = v2_with_checksum();
        let stream = trusted_dial(80).open(&site.net.balancer);
        send_parts(&stream, &[&header[..5], &header[5..60], &header[60..], QUESTION]);
        assert_both(expect_names(&stream), on_ipv6_socket(CLIENT6));
        let payload = pattern(1 << 20);
        assert_echoed(&stream, &payload);
        let peer = stream.local_addr().expect("a bound socket").to_string();
        drop(stream);
        let close = agent.wait_event("close", &peer);
        assert_eq!(close["bytes_received"], QUESTION.len() + payload.len(), "{close}");
        assert_eq!(close["client"], CLIENT6);
        assert_eq!(close["tlvs"]["authority"], "example.com");
    });
}

#[test]
fn with_nagles_algorithm() {
    for hand_off in [HandOff::Auto, HandOff::Translate] {
        send_with_nagles_algorithm(hand_off);
    }
}

/// The second byte waits for the acknowledgment of the first.
fn send_with_nagles_algorithm(hand_off: HandOff) {
    with_server(&Guard::ports(&[80]).hand_off(hand_off), &[], |site, agent| {
        for (what, header, client) in headers() {
            let stream = trusted_dial(80).open(&site.net.balancer);
            stream.set_nodelay(false).expect("TCP_NODELAY");
            let start = Instant::now();
            let bytes: Vec<_> = header.iter().map(std::slice::from_ref).collect();
            send_parts(&stream, &bytes);
            send_parts(&stream, &[QUESTION]);
            assert_both(expect_names(&stream), on_ipv6_socket(client));
            eprintln!("{what}: {:?} with Nagle's algorithm", start.elapsed());
        }
        assert!(agent.counter("header_part") >= 3);
        site.assert_swift();
    });
}

fn half_a_header(site: &Site, dial: &Dial) -> TcpStream {
    let stream = dial.open(&site.net.balancer);
    send_parts(&stream, &[&header_of_client()[..20]]);
    stream
}

mod timeout {
    use super::*;

    auto_and_translate!(a_header_that_does_not_go_on_is_reset);

    fn guard(hand_off: HandOff, seconds: u32) -> Guard {
        Guard::ports(&[80]).hand_off(hand_off).setting(&format!("header_timeout = {seconds}"))
    }

    fn a_header_that_does_not_go_on_is_reset(hand_off: HandOff) {
        with_server(&guard(hand_off, 1), &[("header_timeout", 2)], |site, agent| {
            for dial in [trusted_dial(80), trusted_dial6(80)] {
                let stream = half_a_header(site, &dial);
                // Nothing more is sent.
                assert!(is_reset(&stream));
                let peer = stream.local_addr().expect("a bound socket").to_string();
                let event = agent.wait_event("refuse", &peer);
                assert_eq!(event["reason"], "header_timeout");
                assert_eq!(event["hand_off"], hand_off.label());
            }
            agent.wait_diagnostic("header_timeout");
            let sockets = site.net.server.run("ss -Htan state syn-recv sport = :80");
            assert_eq!(sockets, "", "request sockets");
        });
    }

    #[test]
    fn a_header_may_take_its_time() {
        with_server(&guard(HandOff::Auto, 30), &[], |site, _| {
            let stream = half_a_header(site, &trusted_dial(80));
            std::thread::sleep(Duration::from_secs(6));
            send_parts(&stream, &[&[&header_of_client()[20..], QUESTION].concat()]);
            assert_both(expect_names(&stream), on_ipv6_socket(CLIENT));
        });
    }
}
