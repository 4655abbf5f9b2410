//! The grammar against other parsers of PROXY headers.

use std::net::SocketAddr;

use ppp::{HeaderResult, PartialResult as _, v1, v2};
use proxyip_common::{
    flow::Origin,
    header::{HeaderError, parse},
};

use crate::disagreements::{Case, LIST};

/// A parser's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A header.
    Accepted {
        /// The client and the address that it connected to; IPv4-mapped ones as IPv4.
        ends: Option<(SocketAddr, SocketAddr)>,
        /// The header's length in bytes.
        length: usize,
    },
    /// The beginning of a header.
    Incomplete,
    /// No header.
    Refused,
}

/// The other parsers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// The crate `ppp`.
    Ppp,
    /// The crate `proxy-header`.
    ProxyHeader,
}

/// Compares all parsers; panics if they disagree in a way that is not known.
pub fn check(bytes: &[u8]) {
    let reason = parse(bytes).err();
    let ours = ours(bytes);
    for (other, theirs) in [(Other::Ppp, ppp(bytes)), (Other::ProxyHeader, proxy_header(bytes))] {
        if ours == theirs {
            continue;
        }
        let case = Case { bytes, other, ours, reason, theirs };
        let known = LIST.iter().any(|disagreement| (disagreement.applies)(&case));
        assert!(
            known,
            "{other:?}: {theirs:?}, but {ours:?} ({reason:?}): {}",
            bytes.escape_ascii()
        );
    }
}

fn ours(bytes: &[u8]) -> Verdict {
    match parse(bytes) {
        Ok(header) => {
            let ends = (header.client.0.to_socket_addr(), header.destination.0.to_socket_addr());
            let ends = (header.origin == Origin::Proxied).then_some(ends);
            Verdict::Accepted { ends, length: header.length as usize }
        }
        Err(HeaderError::Incomplete) => Verdict::Incomplete,
        Err(_) => Verdict::Refused,
    }
}

fn ppp(bytes: &[u8]) -> Verdict {
    let result = HeaderResult::parse(bytes);
    let incomplete = result.is_incomplete();
    let (ends, length) = match &result {
        HeaderResult::V1(Ok(header)) => (ppp_text(&header.addresses), header.header.len()),
        HeaderResult::V2(Ok(header)) => (ppp_binary(header), header.header.len()),
        _ if incomplete => return Verdict::Incomplete,
        _ => return Verdict::Refused,
    };
    Verdict::Accepted { ends: ends.map(canonical), length }
}

fn ppp_text(addresses: &v1::Addresses) -> Option<(SocketAddr, SocketAddr)> {
    match addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(ends) => Some((
            (ends.source_address, ends.source_port).into(),
            (ends.destination_address, ends.destination_port).into(),
        )),
        v1::Addresses::Tcp6(ends) => Some((
            (ends.source_address, ends.source_port).into(),
            (ends.destination_address, ends.destination_port).into(),
        )),
    }
}

fn ppp_binary(header: &v2::Header<'_>) -> Option<(SocketAddr, SocketAddr)> {
    match (header.command, &header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(ends)) => Some((
            (ends.source_address, ends.source_port).into(),
            (ends.destination_address, ends.destination_port).into(),
        )),
        (v2::Command::Proxy, v2::Addresses::IPv6(ends)) => Some((
            (ends.source_address, ends.source_port).into(),
            (ends.destination_address, ends.destination_port).into(),
        )),
        _ => None,
    }
}

fn proxy_header(bytes: &[u8]) -> Verdict {
    match proxy_header::ProxyHeader::parse(bytes, proxy_header::ParseConfig::default()) {
        Ok((header, length)) => {
            let ends = header.proxied_address().map(|ends| (ends.source, ends.destination));
            Verdict::Accepted { ends: ends.map(canonical), length }
        }
        Err(proxy_header::Error::BufferTooShort) => Verdict::Incomplete,
        Err(_) => Verdict::Refused,
    }
}

fn canonical((client, destination): (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    (canonical(client), canonical(destination))
}
