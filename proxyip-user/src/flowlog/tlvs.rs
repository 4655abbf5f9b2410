//! TLVs as JSON.

use proxyip_api::tlvs::{OtherJson, SslJson, TlvsJson};
use proxyip_common::header::tlv::{Ssl, SslField, Tlv, Vector, Vectors};

/// From the bytes behind a header's addresses; `None` if they hold nothing worth showing.
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> Option<TlvsJson> {
    let mut tlvs = TlvsJson::default();
    // The header was checked as a whole before. Of a long one the TLV that is cut ends the list.
    for vector in Vectors::new(bytes).map_while(Result::ok) {
        add(&mut tlvs, vector);
    }
    (tlvs != TlvsJson::default()).then_some(tlvs)
}

fn add(tlvs: &mut TlvsJson, vector: Vector) {
    let repeated = match Tlv::from(vector) {
        Tlv::Alpn(alpn) => set(&mut tlvs.alpn, String::from_utf8_lossy(alpn).into()),
        Tlv::Authority(authority) => set(&mut tlvs.authority, authority.into()),
        Tlv::UniqueId(id) => set(&mut tlvs.unique_id, hex(id)),
        Tlv::Ssl(found) => set(&mut tlvs.ssl, ssl(&found)),
        Tlv::Netns(netns) => set(&mut tlvs.netns, netns.into()),
        Tlv::AwsVpcEndpointId(id) => set(&mut tlvs.aws_vpc_endpoint_id, id.into()),
        Tlv::AzurePrivateLinkId(id) => set(&mut tlvs.azure_private_link_id, id),
        Tlv::GcpPscConnectionId(id) => set(&mut tlvs.gcp_psc_connection_id, id.to_string()),
        Tlv::Other(_) => true,
        Tlv::Crc32c(_) | Tlv::Noop => false,
    };
    if repeated {
        tlvs.other.push(other(vector));
    }
}

fn ssl(ssl: &Ssl) -> SslJson {
    let mut json = SslJson { client: ssl.client, verify: ssl.verify, ..SslJson::default() };
    for vector in ssl.fields() {
        add_ssl(&mut json, vector);
    }
    json
}

fn add_ssl(json: &mut SslJson, vector: Vector) {
    let (slot, text) = match SslField::from(vector) {
        SslField::Version(text) => (&mut json.version, text.into()),
        SslField::CommonName(text) => (&mut json.cn, text.into()),
        SslField::Cipher(text) => (&mut json.cipher, text.into()),
        SslField::SignatureAlgorithm(text) => (&mut json.sig_alg, text.into()),
        SslField::KeyAlgorithm(text) => (&mut json.key_alg, text.into()),
        SslField::Group(text) => (&mut json.group, text.into()),
        SslField::SignatureScheme(text) => (&mut json.sig_scheme, text.into()),
        SslField::ClientCertificate(der) => (&mut json.client_cert, hex(der)),
        SslField::Other(_) => return json.other.push(other(vector)),
    };
    if set(slot, text) {
        json.other.push(other(vector));
    }
}

fn other(vector: Vector) -> OtherJson {
    OtherJson { kind: format!("{:#04x}", vector.kind), value: hex(vector.value) }
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
            serde_json::to_value(from_bytes(bytes)).unwrap(),
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
        assert_eq!(from_bytes(b""), None);
        assert_eq!(from_bytes(b"\x03\0\x04crc!\x04\0\x01\0"), None);
    }
}
