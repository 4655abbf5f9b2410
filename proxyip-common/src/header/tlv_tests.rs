use proptest::prelude::*;

use super::*;

/// The vectors of a header that an NLB sends for a VPC endpoint service: CRC32C, endpoint id, padding.
const AWS: &[u8] = b"\x03\x00\x04\xe8\xd6\x89\x2d\
    \xea\x00\x17\x01vpce-08d2bf15fac5001c9\
    \x04\x00\x24\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn all(bytes: &[u8]) -> Vec<Result<Tlv<'_>, HeaderError>> {
    Tlvs::new(bytes).collect()
}

/// The single vector of `kind` and `value`, decoded.
fn one(kind: u8, value: &[u8]) -> Tlv<'_> {
    Tlv::from(Vector { kind, value })
}

#[test]
fn aws_vpc_endpoint_header() {
    assert_eq!(
        all(AWS),
        [
            Ok(Tlv::Crc32c([0xe8, 0xd6, 0x89, 0x2d])),
            Ok(Tlv::AwsVpcEndpointId("vpce-08d2bf15fac5001c9")),
            Ok(Tlv::Noop),
        ]
    );
}

#[test]
fn registered_types() {
    let longest = [7; 128];
    for (kind, value, expected) in [
        (0x01, &b"h2"[..], Tlv::Alpn(b"h2")),
        (0x02, b"example.org", Tlv::Authority("example.org")),
        (0x02, "bücher.example".as_bytes(), Tlv::Authority("bücher.example")),
        (0x04, b"", Tlv::Noop),
        (0x05, b"\x00\x01", Tlv::UniqueId(&[0, 1])),
        (0x05, &longest, Tlv::UniqueId(&longest)),
        (0x30, b"blue", Tlv::Netns("blue")),
        (0xee, b"\x01\x04\x03\x02\x01", Tlv::AzurePrivateLinkId(0x0102_0304)),
        (0xe0, b"\0\0\0\0\0\0\x01\x02", Tlv::GcpPscConnectionId(0x0102)),
    ] {
        assert_eq!(one(kind, value), expected, "type {kind:#04x}");
    }
}

#[test]
fn values_that_do_not_fit_their_type_stay_raw() {
    let too_long = [7; 129];
    for (kind, value) in [
        (0x02, &b"\xff"[..]),
        (0x03, b"123"),
        (0x03, b"12345"),
        (0x05, &too_long),
        (0x20, b"\x01\0\0\0"),
        (0x20, b"\x01\0\0\0\0\x21\0\x08TLS"),
        (0x30, b"\xc3"),
        (0xe0, b"1234567"),
        (0xe4, b"anything"),
        (0xea, b""),
        (0xea, b"\x01"),
        (0xea, b"\x02vpce-1"),
        (0xee, b"\x01\x01\x02\x03"),
        (0xee, b"\x02\x01\x02\x03\x04"),
    ] {
        assert_eq!(one(kind, value), Tlv::Other(Vector { kind, value }), "type {kind:#04x}");
    }
}

#[test]
fn ssl_with_every_field() {
    let value = b"\x07\x00\x00\x00\x01\
        \x21\x00\x07TLSv1.3\x22\x00\x05Alice\x23\x00\x04AES1\x24\x00\x0aRSA-SHA256\x25\x00\x07RSA2048\
        \x26\x00\x06x25519\x27\x00\x07ed25519\x28\x00\x02\x30\x82\x22\x00\x01\xff\x7f\x00\x00";
    let Tlv::Ssl(ssl) = one(0x20, value) else { panic!("not decoded") };
    assert_eq!(ssl.client, Ssl::TLS | Ssl::CERTIFICATE_CONNECTION | Ssl::CERTIFICATE_SESSION);
    assert_eq!(ssl.verify, 1);
    assert_eq!(
        ssl.fields().map(SslField::from).collect::<Vec<_>>(),
        [
            SslField::Version("TLSv1.3"),
            SslField::CommonName("Alice"),
            SslField::Cipher("AES1"),
            SslField::SignatureAlgorithm("RSA-SHA256"),
            SslField::KeyAlgorithm("RSA2048"),
            SslField::Group("x25519"),
            SslField::SignatureScheme("ed25519"),
            SslField::ClientCertificate(&[0x30, 0x82]),
            SslField::Other(Vector { kind: 0x22, value: b"\xff" }),
            SslField::Other(Vector { kind: 0x7f, value: b"" }),
        ]
    );
}

#[test]
fn overrun_is_an_error_and_the_end() {
    for (bytes, good) in [
        (&b"\x04"[..], 0),
        (b"\x04\x00", 0),
        (b"\x04\x00\x01", 0),
        (b"\x04\xff\xff\x00", 0),
        (b"\x04\x00\x01\x00\x01\x00\x03h2", 1),
    ] {
        let seen = all(bytes);
        assert_eq!(seen.len(), good + 1, "{bytes:?}");
        assert!(seen[..good].iter().all(Result::is_ok), "{bytes:?}");
        assert_eq!(seen[good], Err(HeaderError::V2Tlv), "{bytes:?}");
    }
    assert_eq!(all(b""), []);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        for tlv in Tlvs::new(&bytes) {
            if let Ok(Tlv::Ssl(ssl)) = tlv {
                ssl.fields().map(SslField::from).for_each(drop);
            }
        }
    }

    #[test]
    fn vectors_survive_the_round_trip(
        vectors in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..64)), 0..8)
    ) {
        let mut bytes = Vec::new();
        for (kind, value) in &vectors {
            bytes.push(*kind);
            bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            bytes.extend(value);
        }
        let read: Vec<_> = Vectors::new(&bytes)
            .map(|vector| vector.map(|vector| (vector.kind, vector.value.to_vec())))
            .collect::<Result<_, _>>()
            .unwrap();
        prop_assert_eq!(read, vectors);
    }
}
