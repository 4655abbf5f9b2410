//! Version 2: TLVs.

use proxyip_common::counter::DropReason as Obstacle;

use super::refused;
use super::v2::{FIXED, ipv4, ipv6, unix};
use crate::conformance::topic::Topic;
use crate::conformance::vector::Expected::{Client, Unknown};
use crate::conformance::vector::{CLIENT, CLIENT6, Expected, Vector, about};
use crate::header::{CRC32C, NOOP, PROXY, TCP4, TCP6, tlv, v2_raw, with_checksum};

/// Where the TLVs begin behind IPv4 addresses.
const BEHIND_IPV4: usize = FIXED + 12;
/// Where they begin behind IPv6 addresses.
const BEHIND_IPV6: usize = FIXED + 36;

/// The usual client, with these bytes behind the addresses.
fn header(tlvs: &[u8]) -> Vec<u8> {
    v2_raw(PROXY, TCP4, &[&ipv4(), tlvs].concat())
}

/// TLVs that are all in order.
fn good(name: &str, section: &'static str, tlvs: &[u8]) -> Vector {
    Vector::new(name, section, header(tlvs), Client(CLIENT))
}

/// A header of this length with a checksum and padding.
fn padded(length: usize) -> Vec<u8> {
    let padding = vec![0x5a; length - BEHIND_IPV4 - 7 - 3];
    let tlvs = [tlv(CRC32C, &[0; 4]), tlv(NOOP, &padding)].concat();
    with_checksum(header(&tlvs), BEHIND_IPV4)
}

pub(super) fn form() -> Vec<Vector> {
    let many = vec![tlv(NOOP, &[]); 1356].concat();
    let bad = |name: &str, bytes: &[u8]| {
        Vector::new(name, "2.2", header(bytes), refused(Obstacle::V2Tlv))
    };
    let mut vectors = vec![
        good("NOOP without a value", "2.2.4", &tlv(NOOP, &[])),
        good("NOOP of 74 bytes", "2.2.4", &tlv(NOOP, &[0; 74])),
        good("the same type twice", "2.2", &[tlv(0xe4, b"1"), tlv(0xe4, b"2")].concat()),
        good("a type that is not registered, 0x06", "2.2", &tlv(0x06, b"x")),
        good("type 0", "2.2", &tlv(0x00, b"x")),
        good("a custom type, 0xe4", "2.2.8", &tlv(0xe4, b"x")),
        good("an experimental type, 0xf0", "2.2.8", &tlv(0xf0, b"x")),
        good("a type for the future, 0xff", "2.2.8", &tlv(0xff, b"x")),
    ];
    vectors.extend(about(
        Topic::BrokenTlvs,
        vec![
            bad("a TLV without a length", &[NOOP]),
            bad("a TLV with half a length", &[NOOP, 0]),
            bad("a TLV one byte beyond the header", &[NOOP, 0, 2, 0]),
            bad("a TLV far beyond the header", &[NOOP, 0xff, 0xff, 0]),
            bad("a good TLV, then one beyond", &[tlv(0xe4, b"x"), vec![NOOP, 0, 1]].concat()),
        ],
    ));
    vectors.extend(about(
        Topic::LongHeaders,
        vec![
            Vector::new("536 bytes in all, as fits any segment", "2", padded(536), Client(CLIENT)),
            good("1356 TLVs without values: 4096 bytes", "2.2", &many),
            Vector::new("4096 bytes in all", "2.2", padded(4096), Client(CLIENT)),
            Vector::new("4097 bytes in all", "2.2", padded(4097), Client(CLIENT)),
            Vector::new(
                "the longest that can be said: 65551 bytes",
                "2.2",
                padded(65_551),
                Client(CLIENT),
            ),
        ],
    ));
    vectors
}

pub(super) fn checksums() -> Vec<Vector> {
    let crc = tlv(CRC32C, &[0; 4]);
    let summed = |family: u8, body: &[u8], tlvs: &[&[u8]]| {
        let before = tlvs.iter().take_while(|tlv| **tlv != crc).map(|tlv| tlv.len());
        let at = FIXED + body.len() + before.sum::<usize>();
        with_checksum(v2_raw(PROXY, family, &[body, &tlvs.concat()].concat()), at)
    };
    let case = |name: &str, header: Vec<u8>, expected: Expected| {
        Vector::new(format!("checksum {name}"), "2.2.3", header, expected)
    };
    let mut flipped = summed(TCP4, &ipv4(), &[&crc]);
    flipped[FIXED] ^= 1;
    let around = [tlv(0x01, b"h2"), tlv(0x02, b"example.org")];
    let mut vectors = vec![
        case("right, IPv4", summed(TCP4, &ipv4(), &[&crc]), Client(CLIENT)),
        case("right, IPv6", summed(TCP6, &ipv6(), &[&crc]), Client(CLIENT6)),
        case(
            "right, between others",
            summed(TCP4, &ipv4(), &[&around[0], &crc, &around[1]]),
            Client(CLIENT),
        ),
    ];
    vectors.extend(about(
        Topic::Unspecified,
        vec![
            case("right, UNIX", summed(0x31, &unix(), &[&crc]), Unknown),
            case("right, UNSPEC", summed(0x00, &[], &[&crc]), Unknown),
        ],
    ));
    let wrong = refused(Obstacle::V2Checksum);
    // Each is right with its own field as zeros and the other's as it is: the solution of 64 linear equations.
    let both = [0x012c_c5a3_u32, 0x7aba_1a5c].map(|sum| tlv(CRC32C, &sum.to_be_bytes()));
    let ipv6_zero = v2_raw(PROXY, TCP6, &[ipv6(), crc.clone()].concat());
    assert_eq!(ipv6_zero.len(), BEHIND_IPV6 + crc.len());
    vectors.extend(about(
        Topic::Checksums,
        vec![
            case("that is wrong", header(&tlv(CRC32C, &[1, 2, 3, 4])), wrong),
            case("of another address", flipped, wrong),
            case("that is zero, IPv6", ipv6_zero, wrong),
            case("of three bytes", header(&tlv(CRC32C, &[0; 3])), wrong),
            case("of five bytes", header(&tlv(CRC32C, &[0; 5])), wrong),
            case("of no bytes", header(&tlv(CRC32C, &[])), wrong),
            case("twice, the first right", summed(TCP4, &ipv4(), &[&crc, &crc]), wrong),
            case("twice, both right", header(&both.concat()), wrong),
            case(
                "that is wrong, UNIX",
                v2_raw(PROXY, 0x31, &[unix(), crc.clone()].concat()),
                wrong,
            ),
        ],
    ));
    let unspecified = case("that is wrong, UNSPEC", v2_raw(PROXY, 0x00, &crc), Unknown);
    vectors.extend(about(Topic::UncheckedChecksums, vec![unspecified]));
    vectors
}

pub(super) fn values() -> Vec<Vector> {
    let ssl = |sub: &[Vec<u8>]| tlv(0x20, &[vec![7, 0, 0, 0, 0], sub.concat()].concat());
    let sub = [
        tlv(0x21, b"TLSv1.3"),
        tlv(0x22, b"alice"),
        tlv(0x23, b"ECDHE-RSA-AES128-GCM-SHA256"),
        tlv(0x24, b"SHA256"),
        tlv(0x25, b"RSA2048"),
    ];
    let mut vectors = vec![
        good("ALPN", "2.2.1", &tlv(0x01, b"h2")),
        good("ALPN, empty", "2.2.1", &tlv(0x01, b"")),
        good("AUTHORITY", "2.2.2", &tlv(0x02, b"example.org")),
        good("UNIQUE_ID of 128 bytes", "2.2.5", &tlv(0x05, &[0xab; 128])),
        good("UNIQUE_ID, empty", "2.2.5", &tlv(0x05, b"")),
        good("SSL with all its sub-TLVs", "2.2.6", &ssl(&sub)),
        good("SSL without sub-TLVs", "2.2.6", &ssl(&[])),
        good("NETNS", "2.2.7", &tlv(0x30, b"blue")),
        good("AWS VPC endpoint", "2.2.8", &tlv(0xea, b"\x01vpce-08d2bf15fac5001c9")),
        good("Azure private link", "2.2.8", &tlv(0xee, &[1, 0x78, 0x56, 0x34, 0x12])),
        good("GCP private service connect", "2.2.8", &tlv(0xe0, &[0xff; 8])),
    ];
    vectors.extend(about(
        Topic::Values,
        vec![
            good("AUTHORITY that is no UTF-8", "2.2.2", &tlv(0x02, b"\xff\xfe")),
            good("UNIQUE_ID of 129 bytes", "2.2.5", &tlv(0x05, &[0xab; 129])),
            good("SSL of four bytes", "2.2.6", &tlv(0x20, &[7, 0, 0, 0])),
            good("SSL with a sub-TLV beyond it", "2.2.6", &ssl(&[vec![0x21, 0, 9, 0]])),
            good("a sub-TLV of SSL by itself", "2.2.6", &tlv(0x22, b"alice")),
            good("NETNS that is no US-ASCII", "2.2.7", &tlv(0x30, b"\xff")),
        ],
    ));
    vectors
}
