//! PROXY protocol headers as load balancers write them, built here by hand: a test must not take its
//! input from the parser that it tests.

use std::net::{IpAddr, SocketAddr};

/// The twelve bytes that start every version 2 header.
pub const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
pub const PROXY: u8 = 0x21;
/// Version 2, command LOCAL.
pub const LOCAL: u8 = 0x20;
/// TCP over IPv4.
pub const TCP4: u8 = 0x11;
/// TCP over IPv6.
pub const TCP6: u8 = 0x21;
/// Type of the checksum TLV.
pub const CRC32C: u8 = 0x03;
/// Type of the TLV that means nothing.
pub const NOOP: u8 = 0x04;

/// A version 1 header.
#[must_use]
pub fn v1(client: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (client.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", client.port(), destination.port()).into_bytes()
}

/// A version 2 header without TLVs.
#[must_use]
pub fn v2(client: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    v2_with(client, destination, &[])
}

/// A version 2 header with TLVs, which [`tlv`] builds.
#[must_use]
pub fn v2_with(client: SocketAddr, destination: SocketAddr, tlvs: &[u8]) -> Vec<u8> {
    let family = if client.is_ipv4() { TCP4 } else { TCP6 };
    let mut body = Vec::new();
    for address in [client.ip(), destination.ip()] {
        match address {
            IpAddr::V4(address) => body.extend(address.octets()),
            IpAddr::V6(address) => body.extend(address.octets()),
        }
    }
    body.extend(client.port().to_be_bytes());
    body.extend(destination.port().to_be_bytes());
    body.extend(tlvs);
    v2_raw(PROXY, family, &body)
}

/// A version 2 header with any command, family and body.
#[must_use]
pub fn v2_raw(version_and_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("the length field has 16 bits");
    let mut header = SIGNATURE.to_vec();
    header.extend([version_and_command, family]);
    header.extend(length.to_be_bytes());
    header.extend(body);
    header
}

/// One TLV.
#[must_use]
pub fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("the length field has 16 bits");
    let mut tlv = vec![kind];
    tlv.extend(length.to_be_bytes());
    tlv.extend(value);
    tlv
}

/// Fills in the checksum of a header. Its TLVs must have a CRC32C of four zero bytes at `tlv_offset`.
#[must_use]
pub fn with_checksum(mut header: Vec<u8>, tlv_offset: usize) -> Vec<u8> {
    assert_eq!(header[tlv_offset..tlv_offset + 7], [CRC32C, 0, 4, 0, 0, 0, 0]);
    let checksum = crc32c(&header);
    header[tlv_offset + 3..tlv_offset + 7].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// What an AWS Network Load Balancer sends for its own health checks: LOCAL, family TCP4, length 84,
/// but no address block: the TLVs begin right at offset 16.
#[must_use]
pub fn aws_health_check() -> Vec<u8> {
    let mut tlvs = tlv(CRC32C, &[0; 4]);
    tlvs.extend(tlv(NOOP, &[0; 74]));
    assert_eq!(tlvs.len(), 84);
    with_checksum(v2_raw(LOCAL, TCP4, &tlvs), 16)
}

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0x82f6_3b78 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_of_the_standard_check_string() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
