//! Headers that are not believed: the connection is reset, counted by its reason and logged.

use proxyip_tests::header::{CRC32C, LOCAL, PROXY, TCP4, TCP6, tlv, v2_raw, v2_with};
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Site, address, is_reset};

use crate::common::{
    CLIENT, DESTINATION, ask_names, assert_both, auto_and_translate, header_of_client,
    open_and_send, socket_address, trusted_dial, trusted_dial6,
};

auto_and_translate!(malformed_headers_are_reset_counted_and_logged);

fn version_1(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn with_tlvs(tlvs: &[u8]) -> Vec<u8> {
    v2_with(socket_address(CLIENT), socket_address(DESTINATION), tlvs)
}

/// What is sent in one segment, and the label of the reason.
pub(crate) fn cases() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let addresses = &[0; 12];
    vec![
        ("header_missing", "a request without a header", version_1("GET / HTTP/1.0\r\n\r\n")),
        ("header_missing", "a blank in front", version_1(" PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n")),
        ("header_missing", "a wrong signature", b"\r\n\r\n\0\r\nQUIP\n\x21\x11\0\x0c".to_vec()),
        ("v1_too_long", "108 bytes without CRLF", version_1(&format!("PROXY UNKNOWN {:094}", 0))),
        ("v1_family", "TCP5", version_1("PROXY TCP5 1.2.3.4 1.2.3.5 1 2\r\n")),
        ("v1_family", "lower case", version_1("PROXY tcp4 1.2.3.4 1.2.3.5 1 2\r\n")),
        ("v1_address", "an octet of 256", version_1("PROXY TCP4 1.2.3.256 1.2.3.5 1 2\r\n")),
        ("v1_address", "an octet with a zero", version_1("PROXY TCP4 1.2.3.04 1.2.3.5 1 2\r\n")),
        ("v1_address", "IPv6 as TCP4", version_1("PROXY TCP4 ::1 ::2 1 2\r\n")),
        ("v1_address", "three octets as TCP6", version_1("PROXY TCP6 1.2.3 1.2.3.5 1 2\r\n")),
        ("v1_address", "two spaces", version_1("PROXY TCP4  1.2.3.4 1.2.3.5 1 2\r\n")),
        ("v1_port", "a port of 65536", version_1("PROXY TCP4 1.2.3.4 1.2.3.5 65536 2\r\n")),
        ("v1_port", "a leading zero", version_1("PROXY TCP4 1.2.3.4 1.2.3.5 01 2\r\n")),
        ("v1_port", "a sign", version_1("PROXY TCP4 1.2.3.4 1.2.3.5 +1 2\r\n")),
        (
            "v1_line_end",
            "LF alone",
            version_1("PROXY TCP4 1.2.3.4 1.2.3.5 1 2\nGET / HTTP/1.0\r\n\r\n"),
        ),
        (
            "v1_line_end",
            "CR alone",
            version_1("PROXY TCP4 1.2.3.4 1.2.3.5 1 2\rGET / HTTP/1.0\r\n\r\n"),
        ),
        ("v2_version", "version 1 in binary", v2_raw(0x11, TCP4, addresses)),
        ("v2_command", "command 2", v2_raw(0x22, TCP4, addresses)),
        ("v2_family", "IPv4 without transport", v2_raw(PROXY, 0x10, addresses)),
        ("v2_family", "family 4", v2_raw(PROXY, 0x41, addresses)),
        ("v2_family", "transport 3", v2_raw(PROXY, 0x13, addresses)),
        ("v2_length", "11 bytes of IPv4 addresses", v2_raw(PROXY, TCP4, &addresses[1..])),
        ("v2_length", "IPv6 with IPv4's length", v2_raw(PROXY, TCP6, addresses)),
        ("v2_tlv", "a TLV beyond the header", with_tlvs(&[4, 0, 2, 0])),
        ("v2_tlv", "a TLV without a length", with_tlvs(&[4])),
        ("v2_checksum", "a wrong CRC32C", with_tlvs(&tlv(CRC32C, &[1, 2, 3, 4]))),
    ]
}

fn malformed_headers_are_reset_counted_and_logged(hand_off: HandOff) {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let mut expected = std::collections::BTreeMap::new();
    for ((reason, what, bytes), port) in cases().into_iter().zip(20_000..) {
        // Ports of their own: the flow log is searched for them.
        let dial = trusted_dial(80).from(address::BALANCER, port);
        let dial6 = trusted_dial6(80).from(address::BALANCER6, port);
        for dial in [dial, dial6] {
            let stream = open_and_send(&site, &dial, &bytes);
            assert!(is_reset(&stream), "{what}: not reset");
            *expected.entry(reason).or_insert(0) += 1;
            assert_eq!(agent.numbers("drops").get(reason), expected.get(reason), "{what}");
            let peer = stream.local_addr().expect("a bound socket").to_string();
            let event = agent.wait_event("refuse", &peer);
            assert_eq!(
                (&event["reason"], &event["verdict"]),
                (&reason.into(), &"reset".into()),
                "{what}"
            );
            assert_eq!(event["client"], serde_json::Value::Null, "{what}");
        }
    }
    assert_eq!(agent.counter("handed_over"), 0);
    // The listener is none the worse.
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_eq!(ask_names(&stream).named.port(), socket_address(CLIENT).port());
    let expected: Vec<_> = expected.into_iter().collect();
    site.finish(&mut agent, &expected);
}

#[test]
fn headers_without_a_client_keep_the_peer() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    for ((origin, header), port) in headers_without_a_client().into_iter().zip(20_000..) {
        let dial = trusted_dial(80).from(address::BALANCER, port);
        let stream = open_and_send(&site, &dial, &header);
        let own = stream.local_addr().expect("a bound socket");
        assert_both(ask_names(&stream), own);
        let event = agent.wait_event("accept", &own.to_string());
        assert_eq!((&event["origin"], &event["client"]), (&origin.into(), &own.to_string().into()));
    }
    site.finish(&mut agent, &[]);
}

/// With the origin that the flow log names.
fn headers_without_a_client() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("local", v2_raw(LOCAL, 0, &[])),
        ("local", v2_raw(LOCAL, TCP4, &[0; 12])),
        ("unknown", v2_raw(PROXY, 0, &[])),
        ("unknown", v2_raw(PROXY, 0x31, &[0; 216])),
        ("unknown", version_1("PROXY UNKNOWN\r\n")),
        ("unknown", version_1("PROXY UNKNOWN ::1 ::2 1 2\r\n")),
    ]
}

#[test]
fn a_listener_may_refuse_unknown_clients_and_a_version() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80])
        .hand_off(HandOff::Translate)
        .setting("unknown = \"reset\"")
        .setting("versions = [\"v2\"]");
    let mut agent = Agent::start(&site, &guard);
    for bytes in [v2_raw(PROXY, 0, &[]), version_1("PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n")] {
        assert!(is_reset(&open_and_send(&site, &trusted_dial(80), &bytes)));
    }
    // A health check is none of the unknown.
    let stream = open_and_send(&site, &trusted_dial(80), &v2_raw(LOCAL, 0, &[]));
    assert_both(ask_names(&stream), stream.local_addr().expect("a bound socket"));
    site.finish(&mut agent, &[("unknown_refused", 1), ("version_refused", 1)]);
}

#[test]
fn untrusted_sources_may_be_reset_or_dropped() {
    for (setting, reason) in [("reset", "untrusted_reset"), ("drop", "untrusted_dropped")] {
        let site = Site::without_captures();
        let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
        let guard = Guard::ports(&[80]).setting(&format!("untrusted = \"{setting}\""));
        let mut agent = Agent::start(&site, &guard);
        let mut command = site.net.balancer.command("curl");
        let stranger = ["-sS", "--max-time", "0.5", "--interface", address::STRANGER];
        command.args(stranger).arg("http://10.77.1.1/");
        let output = proxyip_tests::attempt(&mut command);
        let (refused, timed_out) = (Some(7), Some(28));
        let expected = if setting == "reset" { refused } else { timed_out };
        assert_eq!(output.status.code(), expected, "{setting}");
        let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
        assert_both(ask_names(&stream), socket_address(CLIENT));
        site.finish(&mut agent, &[(reason, 1)]);
    }
}
