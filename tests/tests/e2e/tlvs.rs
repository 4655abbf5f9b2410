//! Version 2 headers with TLVs, up to the longest that is allowed.

use proxyip_tests::header::{self, CRC32C, NOOP, tlv, v2_with};
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Plan, Site, address, total_retransmissions};
use serde_json::json;

use crate::common::{
    CLIENT, DESTINATION, assert_both, assert_echoed, auto_and_translate, exchange, expect_names,
    open_and_send, pattern, socket_address, trusted_dial,
};

auto_and_translate!(
    tlvs_are_logged_and_kept_and_a_header_has_any_length,
    customers_of_two_networks_may_have_one_address
);

/// Offset of the first TLV behind IPv4 addresses.
const TLVS: usize = 28;

fn header_with(tlvs: &[u8]) -> Vec<u8> {
    v2_with(socket_address(CLIENT), socket_address(DESTINATION), tlvs)
}

fn tlvs_are_logged_and_kept_and_a_header_has_any_length(hand_off: HandOff) {
    let site = Site::with(&Plan { mtu: 9001, ..Plan::default() });
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    tlvs_are_logged_and_kept(&site, &agent);
    a_header_of_any_length(&site);
    site.finish(&mut agent, &[]);
}

fn tlvs_are_logged_and_kept(site: &Site, agent: &Agent) {
    // SSL: client certificate shown on this connection and verified; then its own TLVs.
    let ssl = [vec![0x07, 0, 0, 0, 0], tlv(0x21, b"TLSv1.3"), tlv(0x22, b"alice")].concat();
    let tlvs = [
        tlv(CRC32C, &[0; 4]),
        tlv(0x01, b"h2"),
        tlv(0x02, b"example.org"),
        tlv(0x05, &[0xab, 0xcd]),
        tlv(0x20, &ssl),
        tlv(0xea, b"\x01vpce-08d2bf15fac5001c9"),
        tlv(0xee, &[1, 0x78, 0x56, 0x34, 0x12]),
        tlv(0xe0, &u64::MAX.to_be_bytes()),
        tlv(0xe4, &[0x42]),
    ];
    let header = header::with_checksum(header_with(&tlvs.concat()), TLVS);
    let stream =
        open_and_send(site, &trusted_dial(80), &[header, b"who am I?\n".to_vec()].concat());
    assert_both(expect_names(&stream), socket_address(CLIENT));

    let peer = stream.local_addr().unwrap().to_string();
    let found: serde_json::Value = agent.json(&["lookup", &peer, "10.77.1.1:80"]);
    for found in [&agent.wait_event("accept", &peer)["tlvs"], &found["tlvs"]] {
        assert_eq!(found["alpn"], "h2", "{found}");
        assert_eq!(found["authority"], "example.org");
        assert_eq!(found["unique_id"], "abcd");
        assert_eq!(found["ssl"]["version"], "TLSv1.3");
        assert_eq!(found["ssl"]["cn"], "alice");
        assert_eq!(found["aws_vpc_endpoint_id"], "vpce-08d2bf15fac5001c9");
        assert_eq!(found["azure_private_link_id"], 0x1234_5678);
        assert_eq!(found["gcp_psc_connection_id"], u64::MAX.to_string());
        assert_eq!(found["other"], json!([{"type": "0xe4", "value": "42"}]));
    }
}

/// As much as is kept of a header, in one jumbo segment, and more, in several: up to what the protocol can announce. The
/// checksum is among the bytes.
fn a_header_of_any_length(site: &Site) {
    let of_length = |length: usize| {
        let padding = vec![0x5a; length - TLVS - 7 - 3];
        let tlvs = [tlv(CRC32C, &[0; 4]), tlv(NOOP, &padding)].concat();
        let header = header::with_checksum(header_with(&tlvs), TLVS);
        assert_eq!(header.len(), length);
        header
    };
    // Odd lengths too: they shift the bytes' parity in checksums.
    for length in [4096, 4095, 1501, 1337, 4097, 20_001, 65_551] {
        let first = [of_length(length), b"who am I?\n".to_vec()].concat();
        let stream = open_and_send(site, &trusted_dial(80), &first);
        assert_both(expect_names(&stream), socket_address(CLIENT));
        // Nothing of the header had to wait for a timeout.
        assert_eq!(total_retransmissions(&stream), 0, "{length} bytes");
        assert_echoed(&stream, &pattern(100_000));
    }
}

/// Networks of customers may have the same private addresses; the endpoint tells them apart.
fn customers_of_two_networks_may_have_one_address(hand_off: HandOff) {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let names = ["vpce-08d2bf15fac5001c9", "vpce-0aaaaaaaaaaaaaaaa"];
    let streams = names.map(|name| {
        let endpoint = tlv(0xea, &[b"\x01", name.as_bytes()].concat());
        let bytes = [header_with(&endpoint), b"who am I?\n".to_vec()].concat();
        let stream = open_and_send(&site, &trusted_dial(80), &bytes);
        assert_both(expect_names(&stream), socket_address(CLIENT));
        stream
    });
    let endpoint = |stream: &std::net::TcpStream| {
        let peer = stream.local_addr().expect("a bound socket").to_string();
        agent.wait_event("accept", &peer);
        let found: serde_json::Value = agent.json(&["lookup", &peer, "10.77.1.1:80"]);
        found["tlvs"]["aws_vpc_endpoint_id"].as_str().map(str::to_owned)
    };
    let [one, other] = streams;
    assert_eq!([endpoint(&one), endpoint(&other)], names.map(|name| Some(name.to_owned())));
    assert_eq!(agent.flows().len(), 2);
    drop(one);
    agent.wait_counter("closed", 1);
    assert_eq!(endpoint(&other), Some(names[1].to_owned()));
    exchange(&other);
    site.finish(&mut agent, &[]);
}
