//! Where other parsers judge otherwise, and why proxyip does not follow them.
//!
//! Sections are those of the specification (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).

use std::net::IpAddr;

use proxyip_common::header::HeaderError as R;

use crate::differential::{Other, Verdict};

/// Two verdicts on the same bytes.
pub struct Case<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The other parser.
    pub other: Other,
    /// Our verdict.
    pub ours: Verdict,
    /// The reason for it, if it is none.
    pub reason: Option<R>,
    /// The other's verdict.
    pub theirs: Verdict,
}

/// A way to disagree.
pub struct Disagreement {
    /// A short name.
    pub name: &'static str,
    /// The section that governs.
    pub section: &'static str,
    /// Why we differ.
    pub why: &'static str,
    /// Whether the case is one of this kind.
    pub applies: fn(&Case<'_>) -> bool,
}

impl Case<'_> {
    fn refused_for(&self, reasons: &[R]) -> bool {
        self.reason.is_some_and(|reason| reasons.contains(&reason))
    }

    fn is_accepted_by_other(&self) -> bool {
        matches!(self.theirs, Verdict::Accepted { .. })
    }

    fn is_local(&self) -> bool {
        self.bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x20")
    }

    /// Whether it is a version 1 line with an address that is not of the announced family.
    fn is_mixed(&self) -> bool {
        let line = String::from_utf8_lossy(self.bytes);
        let mut words = line.strip_prefix("PROXY ").unwrap_or_default().split(' ');
        let is_ipv4 = match words.next() {
            Some("TCP4") => true,
            Some("TCP6") => false,
            _ => return false,
        };
        let addresses = words.take(2).filter_map(|word| word.parse::<IpAddr>().ok());
        addresses.into_iter().any(|address| address.is_ipv4() != is_ipv4)
    }

    fn is_unknown(&self) -> bool {
        self.bytes.starts_with(b"PROXY UNKNOWN")
    }
}

/// All that are known.
pub const LIST: &[Disagreement] = &[
    Disagreement {
        name: "vectors_unread",
        section: "2.2",
        why: "others leave the vectors to their user; here one that is longer than the header is an error",
        applies: |case| case.is_accepted_by_other() && case.refused_for(&[R::V2Tlv]),
    },
    Disagreement {
        name: "checksum_unread",
        section: "2.2.3",
        why: "others leave the checksum to their user; a receiver that supports it must refuse a wrong one",
        applies: |case| case.is_accepted_by_other() && case.refused_for(&[R::V2Checksum]),
    },
    Disagreement {
        name: "no_transport",
        section: "2.2",
        why: "addresses without a transport: nobody sends them, and a receiver may reject them",
        applies: |case| case.is_accepted_by_other() && case.refused_for(&[R::V2Family]),
    },
    Disagreement {
        name: "local_discarded",
        section: "2.2",
        why: "the receiver must discard what a LOCAL header says, its family and addresses included",
        applies: |case| {
            case.is_local()
                && matches!(case.ours, Verdict::Accepted { ends: None, .. } | Verdict::Incomplete)
        },
    },
    Disagreement {
        name: "unspecified_transport",
        section: "2.2",
        why: "AF_UNSPEC with a transport names no client, and the receiver must accept it",
        applies: |case| {
            case.other == Other::ProxyHeader
                && case.bytes.len() >= 16
                && matches!(case.bytes[13], 1 | 2)
                && matches!(case.ours, Verdict::Accepted { ends: None, .. })
        },
    },
    Disagreement {
        name: "mixed_families",
        section: "2.1",
        why: "nginx in a chain names a destination of its own socket's family, and a client is a client",
        applies: |case| {
            case.theirs == Verdict::Refused
                && case.is_mixed()
                && matches!(case.ours, Verdict::Accepted { ends: Some(_), .. })
        },
    },
    Disagreement {
        name: "signed_or_padded_ports",
        section: "2.1",
        why: "a port is a decimal number without sign, and without leading zeroes",
        applies: |case| case.is_accepted_by_other() && case.refused_for(&[R::V1Port]),
    },
    Disagreement {
        name: "any_separator",
        section: "2.1",
        why: "exactly one space follows PROXY; the other parser skips whatever is there",
        applies: |case| {
            case.other == Other::ProxyHeader
                && case.bytes.starts_with(b"PROXY")
                && case.refused_for(&[R::Missing])
        },
    },
    Disagreement {
        name: "return_as_separator",
        section: "2.1",
        why: "fields are separated by one space; the other parser takes a carriage return as well",
        applies: |case| case.other == Other::Ppp && case.refused_for(&[R::V1LineEnd, R::V1Family]),
    },
    Disagreement {
        name: "longer_than_107",
        section: "2.1",
        why: "a line has 107 characters at most; the other parser looks at that only while no end is seen",
        applies: |case| case.other == Other::ProxyHeader && case.refused_for(&[R::V1TooLong]),
    },
    Disagreement {
        name: "unknown_and_more",
        section: "2.1",
        why: "a space or the line's end follows UNKNOWN; the other parser takes anything",
        applies: |case| {
            case.other == Other::ProxyHeader
                && case.is_unknown()
                && case.refused_for(&[R::V1Family])
        },
    },
    Disagreement {
        name: "line_feed_alone",
        section: "2.1",
        why: "a line feed without carriage return ends no line; others look for the carriage return only",
        applies: |case| {
            case.is_accepted_by_other() && case.is_unknown() && case.refused_for(&[R::V1LineEnd])
        },
    },
    Disagreement {
        name: "unknown_is_ignored",
        section: "2.1",
        why: "the receiver must ignore what is between UNKNOWN and CRLF, whatever bytes these are",
        applies: |case| {
            case.other == Other::Ppp
                && case.is_unknown()
                && !case.is_accepted_by_other()
                && matches!(case.ours, Verdict::Accepted { ends: None, .. } | Verdict::Incomplete)
        },
    },
    Disagreement {
        name: "later",
        section: "2",
        why: "the first wrong byte decides; others wait for a separator, or for the shortest header",
        applies: |case| case.ours == Verdict::Refused && case.theirs == Verdict::Incomplete,
    },
    Disagreement {
        name: "earlier",
        section: "2",
        why: "a length or a prefix that others refuse at once is judged here when the header is whole",
        applies: |case| case.ours == Verdict::Incomplete && case.theirs == Verdict::Refused,
    },
];
