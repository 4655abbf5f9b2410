//! Version 2: everything before the TLVs.

use proxyip_common::counter::DropReason as Obstacle;

use super::refused;
use crate::conformance::topic::Topic;
use crate::conformance::vector::Expected::{Client, Local, Unknown};
use crate::conformance::vector::{CLIENT, CLIENT6, Expected, Vector, about};
use crate::header::{CRC32C, LOCAL, PROXY, TCP4, TCP6, aws_health_check, tlv, v2, v2_raw};

const SECTION: &str = "2.2";
/// Bytes before the addresses.
pub(super) const FIXED: usize = 16;

/// Addresses and ports of the usual client.
pub(super) fn ipv4() -> Vec<u8> {
    ends(CLIENT, "192.0.2.1:443")
}

/// Addresses and ports of the usual IPv6 client.
pub(super) fn ipv6() -> Vec<u8> {
    ends(CLIENT6, "[2001:db8:2::1]:443")
}

fn ends(client: &str, destination: &str) -> Vec<u8> {
    let parse = |text: &str| text.parse().expect("an address and port");
    v2(parse(client), parse(destination)).split_off(FIXED)
}

/// Two paths of UNIX sockets.
pub(super) fn unix() -> Vec<u8> {
    let mut paths = vec![0; 216];
    paths[..11].copy_from_slice(b"/run/client");
    paths[108..119].copy_from_slice(b"/run/server");
    paths
}

fn raw(name: &str, command: u8, family: u8, body: &[u8], expected: Expected) -> Vector {
    Vector::new(name, SECTION, v2_raw(command, family, body), expected)
}

pub(super) fn commands() -> Vec<Vector> {
    let mapped = [&[0; 10], [0xff; 2].as_slice(), &[198, 51, 100, 7]].concat();
    let mapped = [mapped.as_slice(), &ipv6()[16..]].concat();
    let nobody = [[0; 12].as_slice(), &[0; 24]].concat();
    let mut vectors = vec![
        raw("TCP over IPv4", PROXY, TCP4, &ipv4(), Client(CLIENT)),
        raw("TCP over IPv6", PROXY, TCP6, &ipv6(), Client(CLIENT6)),
        raw("an IPv4-mapped client", PROXY, TCP6, &mapped, Client(CLIENT)),
        raw("0.0.0.0 port 0", PROXY, TCP4, &nobody[..12], Client("0.0.0.0:0")),
        raw(":: port 0", PROXY, TCP6, &nobody, Client("[::]:0")),
        raw("TCP over IPv4 with a second header behind it", PROXY, TCP4, &ipv4(), Client(CLIENT))
            .followed_by(&v2_raw(PROXY, TCP4, &ends("192.0.2.9:1", "192.0.2.1:2"))),
        raw(
            "TCP over IPv4 with a version 1 header behind it",
            PROXY,
            TCP4,
            &ipv4(),
            Client(CLIENT),
        )
        .followed_by(b"PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r\n"),
    ];
    for version in [0, 1, 3, 15] {
        let name = format!("version {version}");
        vectors.push(raw(&name, version << 4 | 1, TCP4, &ipv4(), refused(Obstacle::V2Version)));
    }
    let unassigned = (2..16).map(|command| {
        let name = format!("command {command}");
        raw(&name, 0x20 | command, TCP4, &ipv4(), refused(Obstacle::V2Command))
    });
    vectors.extend(about(Topic::Commands, unassigned.collect()));
    vectors
}

pub(super) fn local() -> Vec<Vector> {
    let with_tlvs = |tlvs: &[u8]| [&ipv4(), tlvs].concat();
    let mut vectors = vec![
        raw("LOCAL, UNSPEC, no addresses", LOCAL, 0x00, &[], Local),
        raw("LOCAL, TCP over IPv4 with addresses", LOCAL, TCP4, &ipv4(), Local),
        raw("LOCAL, TCP over IPv6 with addresses", LOCAL, TCP6, &ipv6(), Local),
    ];
    vectors.extend(about(
        Topic::LocalBlocks,
        vec![
            raw("LOCAL, UNSPEC, one byte", LOCAL, 0x00, &[1], Local),
            raw("LOCAL, UDP over IPv4 with addresses", LOCAL, 0x12, &ipv4(), Local),
            raw("LOCAL, UDP over IPv6 with addresses", LOCAL, 0x22, &ipv6(), Local),
            raw("LOCAL, UNIX with paths", LOCAL, 0x31, &unix(), Local),
            raw("LOCAL, TCP over IPv4, no addresses", LOCAL, TCP4, &[], Local),
            raw("LOCAL, TCP over IPv6, no addresses", LOCAL, TCP6, &[], Local),
            raw("LOCAL, TCP over IPv4, five bytes", LOCAL, TCP4, &[1; 5], Local),
            raw("LOCAL, TCP over IPv6, IPv4 addresses", LOCAL, TCP6, &ipv4(), Local),
            raw("LOCAL, UNIX, no paths", LOCAL, 0x31, &[], Local),
            raw("LOCAL, transport 3", LOCAL, 0x13, &ipv4(), Local),
            raw("LOCAL, family 15, transport 15", LOCAL, 0xff, &[1, 2, 3], Local),
            Vector::new(
                "LOCAL, the AWS health check: TLVs of 84 bytes and no addresses",
                SECTION,
                aws_health_check(),
                Local,
            ),
            raw("LOCAL, a TLV beyond the header", LOCAL, TCP4, &with_tlvs(&[4, 0, 9, 0]), Local),
        ],
    ));
    let checksum = with_tlvs(&tlv(CRC32C, &[1; 4]));
    vectors.extend(about(
        Topic::UncheckedChecksums,
        vec![raw("LOCAL, a wrong checksum", LOCAL, TCP4, &checksum, Local)],
    ));
    vectors.extend(about(
        Topic::LongHeaders,
        vec![
            raw("LOCAL, 4096 bytes in all", LOCAL, 0x00, &[0; 4096 - FIXED], Local),
            raw("LOCAL, 4097 bytes in all", LOCAL, 0x00, &[0; 4097 - FIXED], Local),
            raw(
                "LOCAL, the longest that can be said: 65551 bytes",
                LOCAL,
                0x00,
                &[0; 65_535],
                Local,
            ),
        ],
    ));
    vectors
}

pub(super) fn families() -> Vec<Vector> {
    let family = refused(Obstacle::V2Family);
    let mut vectors = about(
        Topic::Unspecified,
        vec![
            raw("0x00, UNSPEC", PROXY, 0x00, &[], Unknown),
            raw("0x00, UNSPEC with five bytes", PROXY, 0x00, &[9; 5], Unknown),
            raw("0x01, UNSPEC stream", PROXY, 0x01, &[], Unknown),
            raw("0x02, UNSPEC datagram", PROXY, 0x02, &[], Unknown),
            raw("0x31, UNIX stream", PROXY, 0x31, &unix(), Unknown),
            raw("0x32, UNIX datagram", PROXY, 0x32, &unix(), Unknown),
            raw("0x10, IPv4 without transport", PROXY, 0x10, &ipv4(), family),
            raw("0x20, IPv6 without transport", PROXY, 0x20, &ipv6(), family),
            raw("0x30, UNIX without transport", PROXY, 0x30, &unix(), family),
        ],
    );
    vectors.extend(about(
        Topic::Datagrams,
        vec![
            raw("0x12, UDP over IPv4", PROXY, 0x12, &ipv4(), Client(CLIENT)),
            raw("0x22, UDP over IPv6", PROXY, 0x22, &ipv6(), Client(CLIENT6)),
        ],
    ));
    let invalid = [0x03_u8, 0x13, 0x23, 0x33, 0x1f, 0x41, 0x51, 0x81, 0xf1, 0xff];
    let invalid = invalid.map(|byte| {
        let name = format!("{byte:#04x}, family {} and transport {}", byte >> 4, byte & 15);
        raw(&name, PROXY, byte, &ipv6(), family)
    });
    vectors.extend(about(Topic::InvalidFamilies, invalid.to_vec()));
    vectors
}

pub(super) fn lengths() -> Vec<Vector> {
    let short = refused(Obstacle::V2Length);
    let rows = [
        raw("TCP over IPv4, no addresses", PROXY, TCP4, &[], short),
        raw("TCP over IPv4, one byte short", PROXY, TCP4, &ipv4()[..11], short),
        raw("TCP over IPv6, one byte short", PROXY, TCP6, &ipv6()[..35], short),
        raw("TCP over IPv6 with the length of IPv4", PROXY, TCP6, &ipv4(), short),
        raw("UNIX, one byte short", PROXY, 0x31, &unix()[..215], short),
    ];
    let one = |byte: &[u8]| [ipv4(), byte.to_vec()].concat();
    let longer = [
        raw("TCP over IPv4, one byte longer", PROXY, TCP4, &one(&[0]), refused(Obstacle::V2Tlv)),
        raw(
            "TCP over IPv4, two bytes longer",
            PROXY,
            TCP4,
            &one(&[0; 2]),
            refused(Obstacle::V2Tlv),
        ),
        raw(
            "UNIX, one byte longer",
            PROXY,
            0x31,
            &[unix(), vec![0]].concat(),
            refused(Obstacle::V2Tlv),
        ),
    ];
    let mut vectors = about(Topic::ShortAddresses, rows.to_vec());
    vectors.extend(about(Topic::BrokenTlvs, longer.to_vec()));
    vectors
}
