//! Version 1: addresses and ports.

use proxyip_common::counter::DropReason as Obstacle;

use super::refused;
use crate::conformance::topic::Topic;
use crate::conformance::vector::Expected::Client;
use crate::conformance::vector::{CLIENT, CLIENT6, Expected, Vector, about};

const SECTION: &str = "2.1";
const ADDRESS: Expected = refused(Obstacle::V1Address);
const PORT: Expected = refused(Obstacle::V1Port);

/// TCP4 with this source address.
fn tcp4(name: &str, source: &str, expected: Expected) -> Vector {
    let line = format!("PROXY TCP4 {source} 192.0.2.1 51234 443\r\n");
    Vector::new(name, SECTION, line, expected)
}

/// TCP6 with this source address.
fn tcp6(name: &str, source: &str, expected: Expected) -> Vector {
    let line = format!("PROXY TCP6 {source} 2001:db8:2::1 51234 443\r\n");
    Vector::new(name, SECTION, line, expected)
}

pub(super) fn ipv4() -> Vec<Vector> {
    let zeros = about(
        Topic::LeadingZeros,
        vec![
            tcp4("an octet with a leading zero", "198.51.100.07", ADDRESS),
            tcp4("an octet of two zeros", "198.51.100.00", ADDRESS),
        ],
    );
    let others = about(
        Topic::Addresses,
        vec![
            tcp4("an octet of 256", "198.51.100.256", ADDRESS),
            tcp4("an octet of four digits", "198.51.100.1000", ADDRESS),
            tcp4("three octets", "198.51.100", ADDRESS),
            tcp4("five octets", "198.51.100.7.1", ADDRESS),
            tcp4("an empty octet", "198.51..7", ADDRESS),
            tcp4("a dot at the end", "198.51.100.7.", ADDRESS),
            tcp4("a negative octet", "198.51.100.-7", ADDRESS),
            tcp4("a hexadecimal octet", "0xc6.51.100.7", ADDRESS),
            tcp4("one number", "3325256711", ADDRESS),
            tcp4("a name", "localhost", ADDRESS),
            tcp4("an IPv6 address as TCP4", "2001:db8:5::7", ADDRESS),
            tcp4("an IPv4-mapped address as TCP4", "::ffff:198.51.100.7", ADDRESS),
            Vector::new(
                "a destination with an octet of 256",
                SECTION,
                "PROXY TCP4 198.51.100.7 192.0.2.256 51234 443\r\n",
                ADDRESS,
            ),
        ],
    );
    [zeros, others].concat()
}

pub(super) fn ipv6() -> Vec<Vector> {
    let mut vectors = vec![
        tcp6("upper case", "2001:DB8:5::7", Client(CLIENT6)),
        tcp6("all 32 digits", "2001:0db8:0005:0000:0000:0000:0000:0007", Client(CLIENT6)),
        tcp6("only zeros: ::", "::", Client("[::]:51234")),
        tcp6("zeros at the end", "2001:db8::", Client("[2001:db8::]:51234")),
        tcp6("IPv4-mapped, hexadecimal", "::ffff:c633:6407", Client(CLIENT)),
    ];
    let (one, shorter) = ("[2001:db8:1:2:0:3:4:5]:51234", "[2001:db8:0:1::1]:51234");
    let dotted = "[2001:db8::c633:6407]:51234";
    vectors.extend(about(
        Topic::Spellings,
        vec![
            tcp6("groups without their leading zeros", "2001:db8:5:0:0:0:0:7", Client(CLIENT6)),
            tcp6(":: for one group", "2001:db8:1:2::3:4:5", Client(one)),
            tcp6(":: for the shorter run", "2001:db8::1:0:0:0:1", Client(shorter)),
            tcp6("IPv4-mapped, dotted", "::ffff:198.51.100.7", Client(CLIENT)),
            tcp6("dotted at the end", "2001:db8::198.51.100.7", Client(dotted)),
        ],
    ));
    vectors.extend(about(
        Topic::Addresses,
        vec![
            tcp6("two ::", "1::2::3", ADDRESS),
            tcp6("seven groups", "1:2:3:4:5:6:7", ADDRESS),
            tcp6("nine groups", "1:2:3:4:5:6:7:8:9", ADDRESS),
            tcp6("eight groups and ::", "1:2:3:4::5:6:7:8", ADDRESS),
            tcp6("a group of five digits", "2001:0db80::7", ADDRESS),
            tcp6("a digit g", "2001:dbg::7", ADDRESS),
            tcp6("three colons", "2001:db8:::7", ADDRESS),
            tcp6("a colon at the start", ":2001:db8::7", ADDRESS),
            tcp6("a colon at the end", "2001:db8::7:", ADDRESS),
            tcp6("a zone", "fe80::7%eth0", ADDRESS),
            tcp6("brackets", "[2001:db8:5::7]", ADDRESS),
            tcp6("a prefix length", "2001:db8:5::7/64", ADDRESS),
            tcp6("dotted with an octet of 256", "::ffff:198.51.100.256", ADDRESS),
            tcp6("dotted with a leading zero", "::ffff:198.51.100.07", ADDRESS),
            tcp6("dotted in the middle", "::198.51.100.7:1", ADDRESS),
            tcp6("three octets as TCP6", "198.51.100", ADDRESS),
            tcp6("an IPv4 address with a group behind it", "198.51.100.7:1", ADDRESS),
        ],
    ));
    vectors
}

/// Lines whose two ends are not of the announced family.
pub(super) fn mixed() -> Vec<Vector> {
    let line = |name: &str, ends: &str, client: &'static str| {
        let line = format!("PROXY {ends} 51234 443\r\n");
        Vector::new(name, SECTION, line, Client(client))
    };
    about(
        Topic::MixedFamilies,
        vec![
            line("an IPv6 destination as TCP4", "TCP4 198.51.100.7 2001:db8:2::1", CLIENT),
            line("an IPv4 address as TCP6", "TCP6 198.51.100.7 2001:db8:2::1", CLIENT),
            line("an IPv4 destination as TCP6", "TCP6 2001:db8:5::7 192.0.2.1", CLIENT6),
            line("two IPv4 addresses as TCP6", "TCP6 198.51.100.7 192.0.2.1", CLIENT),
        ],
    )
}

pub(super) fn ports() -> Vec<Vector> {
    let source = |name: &str, port: &str, expected| {
        let line = format!("PROXY TCP4 198.51.100.7 192.0.2.1 {port} 443\r\n");
        Vector::new(format!("source port {name}"), SECTION, line, expected)
    };
    let destination = |name: &str, port: &str| {
        let line = format!("PROXY TCP4 198.51.100.7 192.0.2.1 51234 {port}\r\n");
        Vector::new(format!("destination port {name}"), SECTION, line, PORT)
    };
    let mut vectors = vec![
        source("0", "0", Client("198.51.100.7:0")),
        source("65535", "65535", Client("198.51.100.7:65535")),
    ];
    let zeros = vec![
        source("with a leading zero", "0443", PORT),
        source("00", "00", PORT),
        destination("with a leading zero", "0443"),
        destination("00", "00"),
    ];
    vectors.extend(about(Topic::LeadingZeros, zeros));
    let others = vec![
        source("65536", "65536", PORT),
        source("2^32 + 443", "4294967739", PORT),
        source("2^64 + 443", "18446744073709552059", PORT),
        source("-1", "-1", PORT),
        source("+1", "+1", PORT),
        source("0x1bb", "0x1bb", PORT),
        source("in words", "https", PORT),
        source("with a fraction", "443.0", PORT),
        destination("65536", "65536"),
        destination("2^32 + 443", "4294967739"),
        destination("-1", "-1"),
        destination("+1", "+1"),
        destination("0x1bb", "0x1bb"),
        destination("with a letter", "443x"),
        destination("that is empty", ""),
    ];
    vectors.extend(about(Topic::Ports, others));
    vectors
}
