//! The rules of the grammar, one row each.

use core::net::{Ipv6Addr, SocketAddr};

use super::*;
use crate::flow::Origin;

/// A version 2 header: version and command, family, and what follows the length.
fn v2(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&v2::SIGNATURE[..], &[version_command, family], &length, body].concat()
}

const IPV4: [u8; 12] = [203, 0, 113, 9, 192, 0, 2, 1, 0xc8, 0x22, 0x01, 0xbb];

fn ipv6() -> Vec<u8> {
    let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    [&address("2001:db8::9")[..], &address("2001:db8::1"), &[0xc8, 0x22], &[0x01, 0xbb]].concat()
}

fn with_tlvs(addresses: &[u8], tlvs: &[(u8, &[u8])]) -> Vec<u8> {
    let mut body = addresses.to_vec();
    for (kind, value) in tlvs {
        body.push(*kind);
        body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(*value);
    }
    body
}

fn proxied(text: &[u8]) -> (SocketAddr, SocketAddr) {
    let header = parse(text).unwrap();
    assert_eq!(header.origin, Origin::Proxied);
    (header.client.0.to_socket_addr(), header.destination.0.to_socket_addr())
}

#[test]
fn addresses_are_read() {
    let ipv4 = ("203.0.113.9:51234".parse().unwrap(), "192.0.2.1:443".parse().unwrap());
    let ipv6_ends = ("[2001:db8::9]:51234".parse().unwrap(), "[2001:db8::1]:443".parse().unwrap());
    assert_eq!(proxied(&v2(0x21, 0x11, &IPV4)), ipv4);
    assert_eq!(proxied(&v2(0x21, 0x21, &ipv6())), ipv6_ends);
    assert_eq!(proxied(b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n"), ipv4);
    assert_eq!(proxied(b"PROXY TCP6 2001:db8::9 2001:DB8:0:0::1 51234 443\r\n"), ipv6_ends);
    // HAProxy writes the two ends of a mixed connection like this.
    assert_eq!(proxied(b"PROXY TCP6 ::ffff:203.0.113.9 ::ffff:c000:201 51234 443\r\n"), ipv4);
}

/// A proxy of DNS over UDP writes these to a back end that speaks TCP.
#[test]
fn datagrams_have_clients_too() {
    for (family, body) in [(0x11, IPV4.to_vec()), (0x21, ipv6())] {
        let stream = parse(&v2(0x21, family, &body)[..]).unwrap();
        let datagram = parse(&v2(0x21, family + 1, &body)[..]).unwrap();
        assert!(datagram.datagram && !stream.datagram);
        assert_eq!(Header { datagram: false, ..datagram }, stream);
    }
    let local = parse(&v2(0x20, 0x12, &IPV4)[..]).unwrap();
    assert!(!local.datagram, "what LOCAL says is discarded");
}

/// nginx in a chain writes these: the client and its own socket may be of two families.
#[test]
fn the_ends_of_a_version_1_line_may_be_of_two_families() {
    let (ipv4, ipv6) = ("198.51.100.7:51234", "[2001:db8::9]:51234");
    let (ipv4_end, ipv6_end) = ("192.0.2.1:443", "[2001:db8::1]:443");
    for (line, client, destination) in [
        ("TCP6 2001:db8::9 192.0.2.1", ipv6, ipv4_end),
        ("TCP6 198.51.100.7 2001:db8::1", ipv4, ipv6_end),
        ("TCP6 198.51.100.7 192.0.2.1", ipv4, ipv4_end),
        ("TCP4 198.51.100.7 2001:db8::1", ipv4, ipv6_end),
        ("TCP4 198.51.100.7 ::ffff:192.0.2.1", ipv4, ipv4_end),
    ] {
        let expected = (client.parse().unwrap(), destination.parse().unwrap());
        assert_eq!(proxied(format!("PROXY {line} 51234 443\r\n").as_bytes()), expected, "{line}");
    }
}

#[test]
fn exactly_one_header_is_consumed() {
    for header in [v2(0x21, 0x11, &IPV4), b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec()] {
        let twice = [&header[..], &header].concat();
        assert_eq!(parse(&twice[..]).unwrap().length as usize, header.len());
    }
}

#[test]
fn headers_without_a_client() {
    let health_check = with_tlvs(&[], &[(0x04, &[0; 81])]);
    assert_eq!(health_check.len(), 84, "the form of AWS health checks");
    let unix = [0; 216];
    for (bytes, origin) in [
        (v2(0x20, 0x11, &health_check), Origin::Local),
        (v2(0x20, 0x00, &[]), Origin::Local),
        (v2(0x20, 0x11, &vec![0xff; 65_535]), Origin::Local),
        (v2(0x20, 0xff, &[1, 2, 3]), Origin::Local),
        (v2(0x21, 0x00, &[]), Origin::Unknown),
        (v2(0x21, 0x01, &[9; 5]), Origin::Unknown),
        (v2(0x21, 0x02, &[]), Origin::Unknown),
        (v2(0x21, 0x31, &unix), Origin::Unknown),
        (v2(0x21, 0x32, &unix), Origin::Unknown),
        (b"PROXY UNKNOWN\r\n".to_vec(), Origin::Unknown),
        (b"PROXY UNKNOWN any thing\r\n".to_vec(), Origin::Unknown),
    ] {
        let header = parse(&bytes[..]).unwrap();
        assert_eq!(header.origin, origin, "{bytes:?}");
        assert_eq!(header.length as usize, bytes.len());
    }
}

#[test]
fn malformed_version_2() {
    use HeaderError as R;
    let overrun = [&IPV4[..], &[0x05, 0, 9, 1]].concat();
    let stub = [&IPV4[..], &[0x05, 0]].concat();
    for (bytes, reason) in [
        (v2(0x11, 0x11, &IPV4), R::V2Version),
        (v2(0x31, 0x11, &IPV4), R::V2Version),
        (v2(0x22, 0x11, &IPV4), R::V2Command),
        (v2(0x2f, 0x11, &IPV4), R::V2Command),
        (v2(0x21, 0x12, &IPV4[..11]), R::V2Length),
        (v2(0x21, 0x22, &ipv6()[..35]), R::V2Length),
        (v2(0x21, 0x13, &IPV4), R::V2Family),
        (v2(0x21, 0x03, &IPV4), R::V2Family),
        (v2(0x21, 0x30, &[0; 216]), R::V2Family),
        (v2(0x21, 0x41, &[0; 216]), R::V2Family),
        (v2(0x21, 0x11, &IPV4[..11]), R::V2Length),
        (v2(0x21, 0x21, &ipv6()[..35]), R::V2Length),
        (v2(0x21, 0x31, &[0; 215]), R::V2Length),
        (v2(0x21, 0x11, &overrun), R::V2Tlv),
        (v2(0x21, 0x11, &stub), R::V2Tlv),
    ] {
        assert_eq!(parse(&bytes[..]), Err(reason), "{bytes:?}");
    }
}

#[test]
fn checksums() {
    use HeaderError as R;
    let tlvs: [(u8, &[u8]); 3] = [(0x01, b"h2"), (0x03, &[0; 4]), (0x02, b"example.org")];
    let mut bytes = v2(0x21, 0x11, &with_tlvs(&IPV4, &tlvs));
    let at = 16 + 12 + 5 + 3;
    let computed = reference_crc32c(&bytes, at);
    bytes[at..at + 4].copy_from_slice(&computed.to_be_bytes());
    assert!(parse(&bytes[..]).is_ok());
    // Without its type the checksum is none.
    let kind = at - 3;
    for index in (16..bytes.len()).filter(|index| *index != kind) {
        let mut wrong = bytes.clone();
        wrong[index] ^= 1;
        assert!(parse(&wrong[..]).is_err(), "a changed byte {index} is noticed");
    }
    let short = v2(0x21, 0x11, &with_tlvs(&IPV4, &[(0x03, &[0; 3])]));
    assert_eq!(parse(&short[..]), Err(R::V2Checksum));
    let twice = v2(0x21, 0x11, &with_tlvs(&IPV4, &[(0x03, &[0; 4]), (0x03, &[0; 4])]));
    assert_eq!(parse(&twice[..]), Err(R::V2Checksum));
}

/// Bit by bit, from the definition.
fn reference_crc32c(bytes: &[u8], zero_at: usize) -> u32 {
    let mut crc = u32::MAX;
    for (index, byte) in bytes.iter().enumerate() {
        crc ^= u32::from(if (zero_at..zero_at + 4).contains(&index) { 0 } else { *byte });
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

#[test]
fn the_longest_headers() {
    let body = with_tlvs(&IPV4, &[(0xe4, &[7; 4096 - 16 - 12 - 3])]);
    assert_eq!(parse(&v2(0x21, 0x11, &body)[..]).unwrap().length, 4096);
    let many = with_tlvs(&IPV4, &vec![(0x04, &[][..]); 1356]);
    assert_eq!(parse(&v2(0x21, 0x11, &many)[..]).unwrap().length, 4096);
    let address = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let line = format!("PROXY TCP6 {address} {address} 65535 65535\r\n");
    assert_eq!(parse(line.as_bytes()).unwrap().length as usize, line.len());
    let unknown = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
    assert_eq!(parse(unknown(107).as_bytes()).unwrap().length, 107);
    assert_eq!(parse(unknown(108).as_bytes()), Err(HeaderError::V1TooLong));
}

#[test]
fn malformed_version_1() {
    use HeaderError as R;
    for (line, reason) in [
        ("PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", R::V1Family),
        ("PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n", R::V1Family),
        ("PROXY UNKNOWNS\r\n", R::V1Family),
        ("PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n", R::V1Family),
        ("PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", R::V1Address),
        ("PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", R::V1Address),
        ("PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", R::V1Address),
        ("PROXY TCP4 1.2.3.4.5 5.6.7.8 1 2\r\n", R::V1Address),
        ("PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n", R::V1Address),
        ("PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n", R::V1Address),
        ("PROXY TCP4 1.2.3. 5.6.7.8 1 2\r\n", R::V1Address),
        ("PROXY TCP4 2001:db8::1 5.6.7.8 1 2\r\n", R::V1Address),
        ("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", R::V1Address),
        ("PROXY TCP4 ::ffff:1.2.3.4 5.6.7.8 1 2\r\n", R::V1Address),
        ("PROXY TCP4 a.2.3.4 5.6.7.8 1 2\r\n", R::V1Address),
        ("PROXY TCP4 1 5.6.7.8 1 2\r\n", R::V1Address),
        ("PROXY TCP4 1.2.3.4 2001:db8:1.2.3.4 1 2\r\n", R::V1Address),
        ("PROXY TCP4 1.2.3.4 a.2.3.4 1 2\r\n", R::V1Address),
        ("PROXY TCP6 1.2.3.4:5 ::1 1 2\r\n", R::V1Address),
        ("PROXY TCP6 1.2.3 ::1 1 2\r\n", R::V1Address),
        ("PROXY TCP6 2001:db8::1::2 ::1 1 2\r\n", R::V1Address),
        ("PROXY TCP6 12345::1 ::1 1 2\r\n", R::V1Address),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", R::V1Address),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", R::V1Port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 02\r\n", R::V1Port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1  2\r\n", R::V1Port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", R::V1Port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 4294967297 2\r\n", R::V1Port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", R::V1Port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", R::V1Port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n", R::V1Port),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", R::V1LineEnd),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n", R::V1LineEnd),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rX", R::V1LineEnd),
        ("PROXY TCP4 1.2.3.4\r\n", R::V1LineEnd),
        ("PROXY UNKNOWN a\nb\r\n", R::V1LineEnd),
        ("PROXY UNKNOWN a\rb\r\n", R::V1LineEnd),
        ("GET / HTTP/1.1\r\n", R::Missing),
        ("proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n", R::Missing),
        ("\r\n\r\n\r\n\r\n\r\n\r\n", R::Missing),
    ] {
        assert_eq!(parse(line.as_bytes()), Err(reason), "{line:?}");
    }
}

#[test]
fn every_proper_prefix_is_incomplete() {
    for header in [
        v2(0x21, 0x11, &IPV4),
        v2(0x21, 0x21, &with_tlvs(&ipv6(), &[(0x01, b"h2")])),
        b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::9 ::ffff:1.2.3.4 51234 443\r\n".to_vec(),
        b"PROXY TCP6 203.0.113.9 2001:db8::1 51234 443\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.9 2001:db8::1 51234 443\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
    ] {
        for length in 1..header.len() {
            let prefix = &header[..length];
            assert_eq!(parse(prefix), Err(HeaderError::Incomplete), "{prefix:?}");
        }
    }
}
