//! Headers that are cut off, and what is none.

use proxyip_common::counter::DropReason as Obstacle;

use super::refused;
use super::v2::ipv4;
use crate::conformance::topic::Topic;
use crate::conformance::vector::Expected::Incomplete;
use crate::conformance::vector::{Vector, about};
use crate::header::{LOCAL, NOOP, PROXY, SIGNATURE, TCP4, tlv, v2_raw};

/// Nothing is sent behind them.
pub(super) fn beginnings() -> Vec<Vector> {
    let lines = [
        ("the first byte of PROXY", "P"),
        ("up to PROXY", "PROXY"),
        ("up to the first space", "PROXY "),
        ("half of TCP4", "PROXY TC"),
        ("up to TCP4", "PROXY TCP4"),
        ("half of UNKNOWN", "PROXY UNKN"),
        ("up to UNKNOWN", "PROXY UNKNOWN"),
        ("UNKNOWN and half an address", "PROXY UNKNOWN 2001:"),
        ("half a source address", "PROXY TCP4 198.51."),
        ("half a destination address", "PROXY TCP6 2001:db8:5::7 2001:"),
        ("half a port", "PROXY TCP4 198.51.100.7 192.0.2.1 512"),
        ("all but CRLF", "PROXY TCP4 198.51.100.7 192.0.2.1 51234 443"),
        ("all but LF", "PROXY TCP4 198.51.100.7 192.0.2.1 51234 443\r"),
    ];
    let mut vectors = lines.map(|(name, line)| Vector::new(name, "2.1", line, Incomplete)).to_vec();
    vectors.push(Vector::new(
        "UNKNOWN, 106 bytes without CRLF",
        "2.1",
        format!("PROXY UNKNOWN {}", "x".repeat(106 - 14)),
        Incomplete,
    ));
    let whole = v2_raw(PROXY, TCP4, &[ipv4(), tlv(NOOP, &[0; 4])].concat());
    for (name, length) in [
        ("one byte of the signature", 1),
        ("four bytes of the signature", 4),
        ("eleven bytes of the signature", 11),
        ("the signature", 12),
        ("up to the command", 13),
        ("up to the family", 14),
        ("half the length", 15),
        ("up to the length", 16),
        ("one byte of the addresses missing", 27),
        ("up to the addresses", 28),
        ("one byte of a TLV missing", whole.len() - 1),
    ] {
        vectors.push(Vector::new(name, "2.2", &whole[..length], Incomplete));
    }
    let local = v2_raw(LOCAL, TCP4, &[0; 12]);
    vectors.push(Vector::new("LOCAL, one byte missing", "2.2", &local[..27], Incomplete));
    vectors.push(Vector::new("nothing", "2", "", Incomplete));
    about(Topic::PartialHeaders, vectors)
}

pub(super) fn others() -> Vec<Vector> {
    let missing = refused(Obstacle::HeaderMissing);
    let hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03".as_slice();
    let rows: [(&str, &[u8]); 11] = [
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"),
        ("an HTTP PUT", b"PUT / HTTP/1.1\r\n\r\n"),
        ("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("a TLS ClientHello", hello),
        ("an SSH banner", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("SMTP", b"EHLO example.org\r\n"),
        ("a NUL", b"\0"),
        ("empty lines", b"\r\n\r\n\r\n\r\n"),
        ("a byte order mark before the line", b"\xef\xbb\xbfPROXY UNKNOWN\r\n"),
        ("PROXY4", b"PROXY4 TCP4 198.51.100.7 192.0.2.1 51234 443\r\n"),
        ("an empty line before the line", b"\r\nPROXY UNKNOWN\r\n"),
    ];
    let mut vectors = rows.map(|(name, bytes)| Vector::new(name, "2", bytes, missing)).to_vec();
    for at in 0..5 {
        let mut line = b"PROXY UNKNOWN\r\n".to_vec();
        line[at] ^= 0x20;
        let name = format!("PROXY with byte {} changed", at + 1);
        vectors.push(Vector::new(name, "2.2", line, missing));
    }
    for at in 0..SIGNATURE.len() {
        let mut header = v2_raw(PROXY, TCP4, &ipv4());
        header[at] ^= 0x20;
        let name = format!("the signature with byte {} changed", at + 1);
        vectors.push(Vector::new(name, "2.2", header, missing));
    }
    vectors
}
