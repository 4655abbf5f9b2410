//! TLVs as JSON.

use proxyip_common::header::tlv::{Ssl, SslField, Tlv, Vector, Vectors};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The TLVs of a header; absent ones are left out. Of a TLV that is there twice the first counts, and
/// the second is among `other`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TlvsJson {
    /// Application protocol; bytes that are not UTF-8 are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    /// Host name the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
    /// The client's TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssl: Option<SslJson>,
    /// Namespace name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// `vpce-…`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_vpc_endpoint_id: Option<String>,
    /// `LINKID`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure_private_link_id: Option<u32>,
    /// Decimal, as text: JSON numbers are exact to 53 bits only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcp_psc_connection_id: Option<String>,
    /// All others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other: Vec<OtherJson>,
}

/// `PP2_TYPE_SSL`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SslJson {
    /// Bits of [`Ssl::client`].
    pub client: u8,
    /// 0: the client's certificate was verified.
    pub verify: u32,
    /// TLS version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Common name of the client's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cn: Option<String>,
    /// Cipher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher: Option<String>,
    /// Signature of the load balancer's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sig_alg: Option<String>,
    /// Key of the load balancer's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_alg: Option<String>,
    /// Key exchange group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Signature scheme of the handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sig_scheme: Option<String>,
    /// The client's certificate, DER, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<String>,
    /// All others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other: Vec<OtherJson>,
}

/// A TLV as raw bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OtherJson {
    /// Such as `0xe4`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Hexadecimal.
    pub value: String,
}

impl TlvsJson {
    /// From the bytes behind a header's addresses; `None` if they hold nothing worth showing.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut tlvs = Self::default();
        // The header was checked as a whole before; an overrun cannot be here, and would end the list.
        for vector in Vectors::new(bytes).map_while(Result::ok) {
            tlvs.add(vector);
        }
        (tlvs != Self::default()).then_some(tlvs)
    }

    fn add(&mut self, vector: Vector) {
        let repeated = match Tlv::from(vector) {
            Tlv::Alpn(alpn) => set(&mut self.alpn, String::from_utf8_lossy(alpn).into()),
            Tlv::Authority(authority) => set(&mut self.authority, authority.into()),
            Tlv::UniqueId(id) => set(&mut self.unique_id, hex(id)),
            Tlv::Ssl(ssl) => set(&mut self.ssl, ssl.into()),
            Tlv::Netns(netns) => set(&mut self.netns, netns.into()),
            Tlv::AwsVpcEndpointId(id) => set(&mut self.aws_vpc_endpoint_id, id.into()),
            Tlv::AzurePrivateLinkId(id) => set(&mut self.azure_private_link_id, id),
            Tlv::GcpPscConnectionId(id) => set(&mut self.gcp_psc_connection_id, id.to_string()),
            Tlv::Other(_) => true,
            Tlv::Crc32c(_) | Tlv::Noop => false,
        };
        if repeated {
            self.other.push(vector.into());
        }
    }
}

impl From<Ssl<'_>> for SslJson {
    fn from(ssl: Ssl) -> Self {
        let mut json = Self { client: ssl.client, verify: ssl.verify, ..Self::default() };
        for vector in ssl.fields() {
            json.add(vector);
        }
        json
    }
}

impl SslJson {
    fn add(&mut self, vector: Vector) {
        let (slot, text) = match SslField::from(vector) {
            SslField::Version(text) => (&mut self.version, text.into()),
            SslField::CommonName(text) => (&mut self.cn, text.into()),
            SslField::Cipher(text) => (&mut self.cipher, text.into()),
            SslField::SignatureAlgorithm(text) => (&mut self.sig_alg, text.into()),
            SslField::KeyAlgorithm(text) => (&mut self.key_alg, text.into()),
            SslField::Group(text) => (&mut self.group, text.into()),
            SslField::SignatureScheme(text) => (&mut self.sig_scheme, text.into()),
            SslField::ClientCertificate(der) => (&mut self.client_cert, hex(der)),
            SslField::Other(_) => return self.other.push(vector.into()),
        };
        if set(slot, text) {
            self.other.push(vector.into());
        }
    }
}

impl From<Vector<'_>> for OtherJson {
    fn from(vector: Vector) -> Self {
        Self { kind: format!("{:#04x}", vector.kind), value: hex(vector.value) }
    }
}

/// Fills an empty slot; `true` if it was full.
fn set<T>(slot: &mut Option<T>, value: T) -> bool {
    let full = slot.is_some();
    slot.get_or_insert(value);
    full
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_tlv_has_its_field() {
        let bytes = b"\x01\0\x02h2\x02\0\x0bexample.org\x03\0\x04crc!\x04\0\x01\0\x05\0\x02\xab\x01\
            \x20\0\x0f\x01\0\0\0\0\x21\0\x07TLSv1.3\x30\0\x04blue\xea\0\x07\x01vpce-1\
            \xee\0\x05\x01\x01\0\0\0\xe0\0\x08\xff\xff\xff\xff\xff\xff\xff\xff\xe4\0\x01x\x01\0\x02h3";
        assert_eq!(
            serde_json::to_value(TlvsJson::from_bytes(bytes)).unwrap(),
            json!({
                "alpn": "h2",
                "authority": "example.org",
                "unique_id": "ab01",
                "ssl": {"client": 1, "verify": 0, "version": "TLSv1.3"},
                "netns": "blue",
                "aws_vpc_endpoint_id": "vpce-1",
                "azure_private_link_id": 1,
                "gcp_psc_connection_id": "18446744073709551615",
                "other": [{"type": "0xe4", "value": "78"}, {"type": "0x01", "value": "6833"}],
            })
        );
    }

    #[test]
    fn padding_and_checksum_are_nothing_to_show() {
        assert_eq!(TlvsJson::from_bytes(b""), None);
        assert_eq!(TlvsJson::from_bytes(b"\x03\0\x04crc!\x04\0\x01\0"), None);
    }
}
