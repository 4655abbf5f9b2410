//! Version 1: the line as a whole.

use proxyip_common::counter::DropReason as Obstacle;

use super::refused;
use crate::conformance::topic::Topic;
use crate::conformance::vector::Expected::{Client, Unknown};
use crate::conformance::vector::{CLIENT, CLIENT6, Expected, Vector, about};

const SECTION: &str = "2.1";
/// 39 characters.
const LONGEST: &str = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";

fn line(name: &str, line: &str, expected: Expected) -> Vector {
    Vector::new(name, SECTION, line, expected)
}

pub(super) fn accepted() -> Vec<Vector> {
    let longest = format!("PROXY TCP6 {LONGEST} {LONGEST} 65535 65535\r\n");
    let tcp4 = "PROXY TCP4 198.51.100.7 192.0.2.1 51234 443\r\n";
    vec![
        line("TCP4", tcp4, Client(CLIENT)),
        line("TCP6", "PROXY TCP6 2001:db8:5::7 2001:db8:2::1 51234 443\r\n", Client(CLIENT6)),
        line(
            "TCP4, the longest line: 56 bytes",
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            Client("255.255.255.255:65535"),
        ),
        line(
            "TCP6, the longest line: 104 bytes",
            &longest,
            Client("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
        line("TCP4, the shortest line", "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Client("0.0.0.0:0")),
        line("TCP6, the shortest line", "PROXY TCP6 :: :: 0 0\r\n", Client("[::]:0")),
        Vector::new("TCP4 with a second line behind it", "2", tcp4, Client(CLIENT))
            .followed_by(b"PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r\n\r\n"),
        Vector::new("TCP4 with the signature of version 2 behind it", "2", tcp4, Client(CLIENT))
            .followed_by(b"\r\n\r\n\0\r\nQUIT\n"),
    ]
}

pub(super) fn unknown() -> Vec<Vector> {
    let addresses = "PROXY UNKNOWN 198.51.100.7 192.0.2.1 51234 443\r\n";
    let longest = format!("PROXY UNKNOWN {LONGEST} {LONGEST} 65535 65535\r\n");
    let mut vectors = vec![line("UNKNOWN, the short form", "PROXY UNKNOWN\r\n", Unknown)];
    vectors.extend(about(
        Topic::UnknownWithMore,
        vec![
            line("UNKNOWN with addresses", addresses, Unknown),
            line("UNKNOWN, the longest line: 107 bytes", &longest, Unknown),
            line("UNKNOWN and a space", "PROXY UNKNOWN \r\n", Unknown),
            line("UNKNOWN with any text", "PROXY UNKNOWN \tany   thing?\r\n", Unknown),
            Vector::new(
                "UNKNOWN with bytes that are no US-ASCII",
                SECTION,
                b"PROXY UNKNOWN \xff\x80\0\r\n",
                Unknown,
            ),
        ],
    ));
    vectors.extend(about(
        Topic::LineEndsInUnknown,
        vec![
            line(
                "UNKNOWN with a lone LF before CRLF",
                "PROXY UNKNOWN a\nb\r\n",
                refused(Obstacle::V1LineEnd),
            ),
            line(
                "UNKNOWN with a lone CR before CRLF",
                "PROXY UNKNOWN a\rb\r\n",
                refused(Obstacle::V1LineEnd),
            ),
        ],
    ));
    vectors.extend(about(
        Topic::UnknownWords,
        vec![
            line("UNKNOWNS", "PROXY UNKNOWNS\r\n", refused(Obstacle::V1Family)),
            line("UNKNOWN and a tab", "PROXY UNKNOWN\tx\r\n", refused(Obstacle::V1Family)),
        ],
    ));
    vectors.push(line("lower case: unknown", "PROXY unknown\r\n", refused(Obstacle::V1Family)));
    vectors
}

pub(super) fn form() -> Vec<Vector> {
    let rows = [
        (
            "lower case: proxy",
            "proxy TCP4 198.51.100.7 192.0.2.1 51234 443",
            Obstacle::HeaderMissing,
        ),
        ("lower case: tcp4", "PROXY tcp4 198.51.100.7 192.0.2.1 51234 443", Obstacle::V1Family),
        (
            "lower case: tcp6",
            "PROXY tcp6 2001:db8:5::7 2001:db8:2::1 51234 443",
            Obstacle::V1Family,
        ),
        ("TCP5", "PROXY TCP5 198.51.100.7 192.0.2.1 51234 443", Obstacle::V1Family),
        ("TCP", "PROXY TCP 198.51.100.7 192.0.2.1 51234 443", Obstacle::V1Family),
        ("TCP44", "PROXY TCP44 198.51.100.7 192.0.2.1 51234 443", Obstacle::V1Family),
        ("UDP4", "PROXY UDP4 198.51.100.7 192.0.2.1 51234 443", Obstacle::V1Family),
        ("nothing behind PROXY", "PROXY", Obstacle::HeaderMissing),
        ("nothing behind PROXY and a space", "PROXY ", Obstacle::V1Family),
        ("nothing behind TCP4", "PROXY TCP4", Obstacle::V1Family),
        ("no destination", "PROXY TCP4 198.51.100.7", Obstacle::V1LineEnd),
        ("no ports", "PROXY TCP4 198.51.100.7 192.0.2.1", Obstacle::V1LineEnd),
        ("no destination address", "PROXY TCP4 198.51.100.7 51234 443", Obstacle::V1Address),
        ("no destination port", "PROXY TCP4 198.51.100.7 192.0.2.1 51234", Obstacle::V1LineEnd),
        ("a fifth field", "PROXY TCP4 198.51.100.7 192.0.2.1 51234 443 1", Obstacle::V1Port),
    ];
    let spaces = [
        (
            "a space before PROXY",
            " PROXY TCP4 198.51.100.7 192.0.2.1 51234 443",
            Obstacle::HeaderMissing,
        ),
        (
            "two spaces before TCP4",
            "PROXY  TCP4 198.51.100.7 192.0.2.1 51234 443",
            Obstacle::V1Family,
        ),
        (
            "two spaces before the source",
            "PROXY TCP4  198.51.100.7 192.0.2.1 51234 443",
            Obstacle::V1Address,
        ),
        (
            "two spaces before the destination",
            "PROXY TCP4 198.51.100.7  192.0.2.1 51234 443",
            Obstacle::V1Address,
        ),
        (
            "two spaces before the source port",
            "PROXY TCP4 198.51.100.7 192.0.2.1  51234 443",
            Obstacle::V1Port,
        ),
        (
            "two spaces before the destination port",
            "PROXY TCP4 198.51.100.7 192.0.2.1 51234  443",
            Obstacle::V1Port,
        ),
        ("a space before CRLF", "PROXY TCP4 198.51.100.7 192.0.2.1 51234 443 ", Obstacle::V1Port),
        (
            "a tab behind PROXY",
            "PROXY\tTCP4 198.51.100.7 192.0.2.1 51234 443",
            Obstacle::HeaderMissing,
        ),
        ("a tab behind TCP4", "PROXY TCP4\t198.51.100.7 192.0.2.1 51234 443", Obstacle::V1Family),
        (
            "a tab between addresses",
            "PROXY TCP4 198.51.100.7\t192.0.2.1 51234 443",
            Obstacle::V1Address,
        ),
        ("a tab between ports", "PROXY TCP4 198.51.100.7 192.0.2.1 51234\t443", Obstacle::V1Port),
    ];
    let with_end = |(name, text, reason): (&str, &str, Obstacle)| {
        line(name, &format!("{text}\r\n"), refused(reason))
    };
    let mut vectors = about(Topic::Form, rows.map(with_end).to_vec());
    vectors.extend(about(Topic::Spaces, spaces.map(with_end).to_vec()));
    vectors
}

pub(super) fn ends() -> Vec<Vector> {
    let unknown = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
    let whole = |end: &str| format!("PROXY TCP4 198.51.100.7 192.0.2.1 51234 443{end}");
    let mut vectors = vec![
        line("LF alone", &whole("\n"), refused(Obstacle::V1LineEnd)),
        line("CR alone", &whole("\r"), refused(Obstacle::V1LineEnd)),
        line("CR CR LF", &whole("\r\r\n"), refused(Obstacle::V1LineEnd)),
        line("LF CR", &whole("\n\r"), refused(Obstacle::V1LineEnd)),
        line("NUL before CRLF", &whole("\0\r\n"), refused(Obstacle::V1Port)),
        line("no line end: the request follows", &whole(""), refused(Obstacle::V1Port)),
    ];
    vectors.extend(about(
        Topic::UnknownWithMore,
        vec![line("UNKNOWN, 107 bytes", &unknown(107), Unknown)],
    ));
    vectors.extend(about(
        Topic::LongLines,
        vec![
            line("UNKNOWN, 108 bytes", &unknown(108), refused(Obstacle::V1TooLong)),
            line(
                "UNKNOWN, 107 bytes without CRLF",
                &unknown(109)[..107],
                refused(Obstacle::V1TooLong),
            )
            .followed_by(b""),
            line("UNKNOWN, 4096 bytes", &unknown(4096), refused(Obstacle::V1TooLong)),
        ],
    ));
    vectors
}
