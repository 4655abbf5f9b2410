//! Parsers from crates.io. What a crate checks only when it is asked to is asked for here.

use std::net::SocketAddr;

use ppp::{HeaderResult, PartialResult as _};
use proxy_header::{ParseConfig, ProxyHeader};

use crate::conformance::vector::Vector;
use crate::conformance::verdict::{Named, Verdict};
use crate::header::{LOCAL, SIGNATURE};

/// The verdict on an accepted header, from its length and the client that it names.
fn taken(vector: &Vector, length: usize, client: Option<SocketAddr>) -> Verdict {
    if length != vector.header.len() {
        return Verdict::Misread;
    }
    Verdict::Accepted(client.map_or(Named::Peer, Named::client))
}

/// `ppp`, its parser of both versions.
pub(in crate::conformance) fn ppp(vector: &Vector) -> Verdict {
    let bytes = vector.bytes();
    let result = HeaderResult::parse(&bytes);
    if result.is_incomplete() {
        return Verdict::Waits;
    }
    match result {
        HeaderResult::V1(Ok(header)) => {
            let client = match &header.addresses {
                ppp::v1::Addresses::Tcp4(ends) => {
                    Some((ends.source_address, ends.source_port).into())
                }
                ppp::v1::Addresses::Tcp6(ends) => {
                    Some((ends.source_address, ends.source_port).into())
                }
                ppp::v1::Addresses::Unknown => None,
            };
            taken(vector, header.header.len(), client)
        }
        HeaderResult::V2(Ok(header)) => ppp_v2(vector, &header),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Verdict::Refused,
    }
}

fn ppp_v2(vector: &Vector, header: &ppp::v2::Header) -> Verdict {
    let length = header.as_bytes().len();
    if header.command == ppp::v2::Command::Local {
        return taken(vector, length, None);
    }
    if header.tlvs().any(|tlv| tlv.is_err()) {
        return Verdict::Refused;
    }
    let client = match header.addresses {
        ppp::v2::Addresses::IPv4(ends) => Some((ends.source_address, ends.source_port).into()),
        ppp::v2::Addresses::IPv6(ends) => Some((ends.source_address, ends.source_port).into()),
        ppp::v2::Addresses::Unspecified | ppp::v2::Addresses::Unix(_) => None,
    };
    taken(vector, length, client)
}

/// `proxy-header`.
pub(in crate::conformance) fn proxy_header(vector: &Vector) -> Verdict {
    let bytes = vector.bytes();
    match ProxyHeader::parse(&bytes, ParseConfig::default()) {
        Ok((header, length)) => {
            // The crate does not tell LOCAL from a header without addresses.
            let is_local = bytes.get(SIGNATURE.len()) == Some(&LOCAL);
            if !is_local && header.tlvs().any(|tlv| tlv.is_err()) {
                return Verdict::Refused;
            }
            taken(vector, length, header.proxied_address().map(|ends| ends.source))
        }
        Err(proxy_header::Error::BufferTooShort) => Verdict::Waits,
        Err(_) => Verdict::Refused,
    }
}

/// `proxyproto`. Its caller must choose the version.
pub(in crate::conformance) fn proxyproto(vector: &Vector) -> Verdict {
    let bytes = vector.bytes();
    if bytes.first() == Some(&b'\r') {
        proxyproto_v2(vector, &bytes)
    } else {
        proxyproto_v1(vector, &bytes)
    }
}

fn proxyproto_v1(vector: &Vector, bytes: &[u8]) -> Verdict {
    match proxyproto::v1::Header::try_from_bytes(bytes) {
        Ok((rest, header)) => taken(vector, bytes.len() - rest.len(), header.source_addr()),
        Err(error) if error.is_incomplete() => Verdict::Waits,
        Err(_) => Verdict::Refused,
    }
}

fn proxyproto_v2(vector: &Vector, bytes: &[u8]) -> Verdict {
    match proxyproto::v2::Header::try_from_bytes(bytes) {
        Ok((rest, header)) => {
            let length = bytes.len() - rest.len();
            if header.command() == proxyproto::Command::Local {
                return taken(vector, length, None);
            }
            if header.validate_crc32c_tlv() == Some(false) {
                return Verdict::Refused;
            }
            taken(vector, length, header.source_addr())
        }
        // The error has no kind that could be asked for; TLVs are called incomplete too.
        Err(error) => match error.to_string().as_str() {
            "incomplete PROXY v2 fixed header" | "incomplete PROXY v2 variable header" => {
                Verdict::Waits
            }
            _ => Verdict::Refused,
        },
    }
}
