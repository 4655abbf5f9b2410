//! The type-length-value vectors behind the addresses of a version 2 header (§2.2).
//!
//! Decoding never fails: a vector with a value that does not fit its type comes out as [`Tlv::Other`], with its
//! bytes. Only a vector that is longer than what holds it is an error.

use core::str;

use super::error::HeaderError;

/// A vector as it stands in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector<'a> {
    /// Its type.
    pub kind: u8,
    /// Its value, without type and length.
    pub value: &'a [u8],
}

/// Iterates over undecoded vectors; ends after the first error.
#[derive(Clone, Debug)]
pub struct Vectors<'a> {
    rest: &'a [u8],
}

impl<'a> Vectors<'a> {
    /// Over bytes that hold nothing but vectors.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Vectors<'a> {
    type Item = Result<Vector<'a>, HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = core::mem::take(&mut self.rest);
        match *rest {
            [] => None,
            [kind, high, low, ref behind @ ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                let Some((value, rest)) = behind.split_at_checked(length) else {
                    return Some(Err(HeaderError::V2Tlv));
                };
                self.rest = rest;
                Some(Ok(Vector { kind, value }))
            }
            _ => Some(Err(HeaderError::V2Tlv)),
        }
    }
}

/// Iterates over decoded vectors; ends after the first error.
#[derive(Clone, Debug)]
pub struct Tlvs<'a>(Vectors<'a>);

impl<'a> Tlvs<'a> {
    /// Over the bytes from [`Header::tlvs`](super::Header::tlvs) to the header's end.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(Vectors::new(bytes))
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(Tlv::from))
    }
}

/// A decoded vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tlv<'a> {
    /// The application protocol negotiated with the client, as in RFC 7301 (§2.2.1).
    Alpn(&'a [u8]),
    /// The host name the client asked for, usually its SNI (§2.2.2).
    Authority(&'a str),
    /// The header's CRC32C, network order (§2.2.3).
    Crc32c([u8; 4]),
    /// Padding (§2.2.4).
    Noop,
    /// Identifies the connection across proxies; at most 128 bytes (§2.2.5).
    UniqueId(&'a [u8]),
    /// What the load balancer knows of the client's TLS (§2.2.6).
    Ssl(Ssl<'a>),
    /// The network namespace's name (§2.2.7).
    Netns(&'a str),
    /// The VPC endpoint that the client came through
    /// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/network/edit-target-group-attributes.html#proxy-protocol>).
    AwsVpcEndpointId(&'a str),
    /// The private endpoint's `LINKID`
    /// (<https://learn.microsoft.com/azure/private-link/private-link-service-overview#getting-connection-information-using-tcp-proxy-v2>).
    AzurePrivateLinkId(u32),
    /// The Private Service Connect connection id
    /// (<https://cloud.google.com/vpc/docs/about-vpc-hosted-services#proxy-protocol>).
    GcpPscConnectionId(u64),
    /// Any other type, or a value that does not fit its type.
    Other(Vector<'a>),
}

/// `PP2_SUBTYPE_AWS_VPCE_ID`.
const AWS_VPC_ENDPOINT_ID: u8 = 0x01;
/// `PP2_SUBTYPE_AZURE_PRIVATEENDPOINT_LINKID`.
const AZURE_LINK_ID: u8 = 0x01;
/// The longest `PP2_TYPE_UNIQUE_ID` in bytes (§2.2.5).
const UNIQUE_ID_LENGTH: usize = 128;

impl<'a> From<Vector<'a>> for Tlv<'a> {
    fn from(vector: Vector<'a>) -> Self {
        Self::decode(vector).unwrap_or(Self::Other(vector))
    }
}

impl<'a> Tlv<'a> {
    fn decode(vector: Vector<'a>) -> Option<Self> {
        let value = vector.value;
        Some(match vector.kind {
            0x01 => Self::Alpn(value),
            0x02 => Self::Authority(text(value)?),
            0x03 => Self::Crc32c(value.try_into().ok()?),
            0x04 => Self::Noop,
            0x05 if value.len() <= UNIQUE_ID_LENGTH => Self::UniqueId(value),
            0x20 => Self::Ssl(Ssl::decode(value)?),
            0x30 => Self::Netns(text(value)?),
            0xe0 => Self::GcpPscConnectionId(u64::from_be_bytes(value.try_into().ok()?)),
            0xea => match *value {
                [AWS_VPC_ENDPOINT_ID, ref id @ ..] if !id.is_empty() => {
                    Self::AwsVpcEndpointId(text(id)?)
                }
                _ => return None,
            },
            0xee => match *value {
                // The one number in little-endian order: so Azure's documentation says.
                [AZURE_LINK_ID, a, b, c, d] => {
                    Self::AzurePrivateLinkId(u32::from_le_bytes([a, b, c, d]))
                }
                _ => return None,
            },
            _ => return None,
        })
    }
}

/// The value of `PP2_TYPE_SSL` (§2.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ssl<'a> {
    /// [`Ssl::TLS`] and its siblings.
    pub client: u8,
    /// 0 if the client presented a certificate and it was verified.
    pub verify: u32,
    fields: &'a [u8],
}

impl<'a> Ssl<'a> {
    /// The client connected over TLS.
    pub const TLS: u8 = 0x01;
    /// The client provided a certificate over this connection.
    pub const CERTIFICATE_CONNECTION: u8 = 0x02;
    /// The client provided a certificate at least once over this TLS session.
    pub const CERTIFICATE_SESSION: u8 = 0x04;

    fn decode(value: &'a [u8]) -> Option<Self> {
        let [client, a, b, c, d, fields @ ..] = value else { return None };
        Vectors::new(fields).all(|vector| vector.is_ok()).then_some(Self {
            client: *client,
            verify: u32::from_be_bytes([*a, *b, *c, *d]),
            fields,
        })
    }

    /// The vectors within; each can be read as an [`SslField`].
    pub fn fields(self) -> impl Iterator<Item = Vector<'a>> {
        Vectors::new(self.fields).filter_map(Result::ok)
    }
}

/// A vector within [`Ssl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslField<'a> {
    /// The TLS version, such as `TLSv1.3`.
    Version(&'a str),
    /// The common name of the client's certificate.
    CommonName(&'a str),
    /// The cipher, such as `ECDHE-RSA-AES128-GCM-SHA256`.
    Cipher(&'a str),
    /// What the load balancer's certificate is signed with, such as `RSA-SHA256`.
    SignatureAlgorithm(&'a str),
    /// The key of the load balancer's certificate, such as `RSA2048`.
    KeyAlgorithm(&'a str),
    /// The key exchange group, such as `secp256r1`.
    Group(&'a str),
    /// The scheme that signed the handshake, such as `rsa_pss_rsae_sha256`.
    SignatureScheme(&'a str),
    /// The client's certificate in DER form.
    ClientCertificate(&'a [u8]),
    /// Any other type, or text that is not UTF-8.
    Other(Vector<'a>),
}

impl<'a> From<Vector<'a>> for SslField<'a> {
    fn from(vector: Vector<'a>) -> Self {
        let as_text: fn(&'a str) -> Self = match vector.kind {
            0x21 => Self::Version,
            0x22 => Self::CommonName,
            0x23 => Self::Cipher,
            0x24 => Self::SignatureAlgorithm,
            0x25 => Self::KeyAlgorithm,
            0x26 => Self::Group,
            0x27 => Self::SignatureScheme,
            0x28 => return Self::ClientCertificate(vector.value),
            _ => return Self::Other(vector),
        };
        text(vector.value).map_or(Self::Other(vector), as_text)
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok()
}

#[cfg(test)]
#[path = "tlv_tests.rs"]
mod tests;
