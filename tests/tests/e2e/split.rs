//! Headers that come in several segments.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use proxyip_tests::header::{self, CRC32C, NOOP, tlv, v2_with, with_checksum};
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, is_reset};

use crate::common::{
    CLIENT, CLIENT6, DESTINATION, DESTINATION6, assert_both, assert_echoed, auto_and_translate,
    expect_names, header_of_client, on_ipv6_socket, pattern, socket_address, trusted_dial,
    trusted_dial6,
};
use crate::raw::QUESTION;

auto_and_translate!(
    split_at_every_byte,
    byte_by_byte,
    with_nagles_algorithm,
    what_is_behind_the_header_arrives_whole,
    malformed_headers_are_reset_as_soon_as_that_shows,
    the_end_of_the_stream_within_the_header
);

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

/// By when what is answered at all is answered.
pub(crate) const SOON: Duration = Duration::from_secs(2);

/// A header, and the first words behind it.
pub(crate) fn first_segment() -> Vec<u8> {
    [header_of_client(), QUESTION.to_vec()].concat()
}

/// Sends each part in a segment of its own.
pub(crate) fn send_parts(mut stream: &TcpStream, parts: &[&[u8]]) {
    for part in parts {
        stream.write_all(part).expect("cannot send");
    }
}

fn split_at_every_byte(hand_off: HandOff) {
    with_server(&Guard::ports(&[80]).hand_off(hand_off), &[], |site, agent| {
        let mut splits = 0;
        for (what, header, client) in headers() {
            for at in 1..header.len() {
                let (first, second) = header.split_at(at);
                for dial in [trusted_dial(80), trusted_dial6(80)] {
                    let stream = dial.open(&site.net.balancer);
                    send_parts(&stream, &[first, &[second, QUESTION].concat()]);
                    let names = expect_names(&stream);
                    assert_both(names, on_ipv6_socket(client));
                    splits += 1;
                }
            }
            eprintln!("{what}: split at {} places, over IPv4 and IPv6: 0 wrong", header.len() - 1);
        }
        // Each was split in fact.
        assert!(agent.counter("header_part") >= splits);
        assert_eq!(agent.counter("handed_over"), splits);
        site.assert_swift();
    });
}

fn byte_by_byte(hand_off: HandOff) {
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

/// The second byte waits for the acknowledgment of the first.
fn with_nagles_algorithm(hand_off: HandOff) {
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

fn malformed_headers_are_reset_as_soon_as_that_shows(hand_off: HandOff) {
    let wrong_checksum = {
        let mut header = v2_with_checksum();
        *header.last_mut().expect("a header is not empty") ^= 1;
        header
    };
    let cases: [(&str, Vec<u8>, usize); 6] = [
        ("header_missing", b"PROX_".to_vec(), 4),
        ("v1_family", b"PROXY UDP".to_vec(), 7),
        ("v1_address", b"PROXY TCP4 1.2.3.256 ".to_vec(), 12),
        ("v2_family", [header::SIGNATURE.as_slice(), &[0x21, 0x12, 0, 12]].concat(), 14),
        ("header_too_long", [header::SIGNATURE.as_slice(), &[0x21, 0x11, 255, 255]].concat(), 14),
        ("v2_checksum", wrong_checksum, 70),
    ];
    let drops = cases.each_ref().map(|(reason, ..)| (*reason, 1));
    with_server(&Guard::ports(&[80]).hand_off(hand_off), &drops, |site, agent| {
        for (reason, header, at) in &cases {
            let stream = trusted_dial(80).open(&site.net.balancer);
            let (first, second) = header.split_at(*at);
            send_parts(&stream, &[first, second]);
            assert!(is_reset(&stream), "{reason}");
            let peer = stream.local_addr().expect("a bound socket").to_string();
            assert_eq!(agent.wait_event("refuse", &peer)["reason"], *reason);
        }
        assert_eq!(agent.counter("handed_over"), 0);
    });
}

fn the_end_of_the_stream_within_the_header(hand_off: HandOff) {
    let drops = [("header_incomplete", 2)];
    with_server(&Guard::ports(&[80]).hand_off(hand_off), &drops, |site, agent| {
        let header = header_of_client();
        let together = trusted_dial(80).open(&site.net.balancer);
        let apart = trusted_dial(80).open(&site.net.balancer);
        send_parts(&apart, &[&header[..20]]);
        agent.wait_counter("header_part", 1);
        apart.shutdown(std::net::Shutdown::Write).expect("an open connection");
        assert!(is_reset(&apart));
        // Without TCP_NODELAY the end goes with the last bytes.
        together.set_nodelay(false).expect("TCP_NODELAY");
        send_parts(&together, &[&header[..1]]);
        agent.wait_counter("header_part", 2);
        socket2::SockRef::from(&together).set_tcp_cork(true).expect("TCP_CORK");
        send_parts(&together, &[&header[1..20]]);
        together.shutdown(std::net::Shutdown::Write).expect("an open connection");
        assert!(is_reset(&together));
    });
}

fn half_a_header(site: &Site, dial: &Dial) -> TcpStream {
    let stream = dial.open(&site.net.balancer);
    send_parts(&stream, &[&header_of_client()[..20]]);
    stream
}

mod timeout {
    use super::*;

    auto_and_translate!(
        a_header_that_does_not_go_on_is_reset,
        it_is_reset_without_the_agent_when_it_goes_on,
        a_header_may_take_its_time
    );

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

    fn it_is_reset_without_the_agent_when_it_goes_on(hand_off: HandOff) {
        let site = Site::new();
        let _echo = EchoServer::start(&site.net.server, "::", 80);
        let mut agent = Agent::start(&site, &guard(hand_off, 2));
        let stream = half_a_header(&site, &trusted_dial(80));
        agent.wait_counter("header_part", 1);
        agent.kill();
        std::thread::sleep(Duration::from_secs(3));
        send_parts(&stream, &[&header_of_client()[20..22]]);
        assert!(is_reset(&stream));
        agent.start_again();
        site.finish(&mut agent, &[("header_timeout", 1)]);
    }

    fn a_header_may_take_its_time(hand_off: HandOff) {
        with_server(&guard(hand_off, 30), &[], |site, _| {
            let stream = half_a_header(site, &trusted_dial(80));
            std::thread::sleep(Duration::from_secs(6));
            send_parts(&stream, &[&[&header_of_client()[20..], QUESTION].concat()]);
            assert_both(expect_names(&stream), on_ipv6_socket(CLIENT));
        });
    }
}
