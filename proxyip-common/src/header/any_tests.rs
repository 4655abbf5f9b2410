//! Any bytes, and the v1 addresses against the standard library's parsers.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

use super::*;

/// Text that is or nearly is an address.
fn near_address() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u32>().prop_map(|bits| core::net::Ipv4Addr::from(bits).to_string()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).to_string()),
        (any::<u128>(), any::<u128>())
            .prop_map(|(a, b)| Ipv6Addr::from(a & b & b >> 7).to_string()),
        "[0-9a-fA-F:.]{1,30}",
        "([0-9a-f]{0,5}[:.]){1,9}[0-9a-f]{0,4}",
        "(:|::|[0-9a-f]{1,4}|25[0-9]|0){1,9}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn version_1_addresses_agree_with_the_standard_library(text in near_address(), port: u16) {
        let address = text.parse::<IpAddr>().ok();
        let ipv4 = address.filter(IpAddr::is_ipv4);
        for (line, expected, is_client) in [
            (format!("TCP4 {text} 192.0.2.1 {port} {port}"), ipv4, true),
            (format!("TCP6 {text} ::1 {port} {port}"), address, true),
            (format!("TCP4 192.0.2.1 {text} {port} {port}"), address, false),
            (format!("TCP6 ::1 {text} {port} {port}"), address, false),
        ] {
            let line = format!("PROXY {line}\r\n");
            match (parse(line.as_bytes()), expected) {
                (Ok(header), Some(ip)) => {
                    let end = if is_client { header.client.0 } else { header.destination.0 };
                    prop_assert_eq!(end, SocketAddr::new(ip, port).into());
                }
                (Err(HeaderError::V1Address), None) => {}
                // A line may also be too long for what is in it.
                (Err(HeaderError::V1TooLong), _) if line.len() > v1::MAX_LENGTH => {}
                (got, expected) => prop_assert!(false, "{line:?}: {got:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn any_bytes_end_in_a_verdict(bytes: Vec<u8>, start in 0usize..3) {
        let start: &[u8] = [b"".as_slice(), b"PROXY ", &v2::SIGNATURE][start];
        let bytes = [start, &bytes].concat();
        if let Ok(header) = parse(&bytes[..]) {
            prop_assert!(header.length as usize <= bytes.len());
            prop_assert!(header.tlvs <= header.length);
        }
    }
}
