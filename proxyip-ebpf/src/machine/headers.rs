//! PROXY headers as load balancers write them, built by hand: a test must not take its input from the grammar that it
//! tests.

/// The client that headers over IPv4 name.
pub(super) const CLIENT: &str = "203.0.113.9:51234";
/// The client that headers over IPv6 name.
pub(super) const CLIENT6: &str = "[2001:db8:5::7]:51234";

/// A version 1 header.
pub(super) fn v1() -> Vec<u8> {
    b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n".to_vec()
}

/// A version 2 header with any command, family and body.
pub(super) fn v2_raw(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("a short body");
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend(length.to_be_bytes());
    header.extend(body);
    header
}

/// A version 2 header over IPv4.
pub(super) fn v2() -> Vec<u8> {
    v2_raw(0x21, 0x11, &[203, 0, 113, 9, 192, 0, 2, 1, 0xc8, 0x22, 1, 187])
}

/// A version 2 header over IPv6 with TLVs; the first TLV is a checksum.
pub(super) fn v2_with_checksum() -> Vec<u8> {
    let client = [0x20, 1, 0x0d, 0xb8, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    let destination = [0x20, 1, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let tlvs = [&[3, 0, 4, 0, 0, 0, 0][..], &[4, 0, 9], &[0; 9], &[2, 0, 11], b"example.com"];
    let body = [&client[..], &destination, &[0xc8, 0x22, 1, 187], &tlvs.concat()].concat();
    let mut header = v2_raw(0x21, 0x21, &body);
    let checksum = crc32c(&header);
    header[55..59].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// A version 2 header over IPv4 of this length; a checksum covers all of it, and comes behind `before` bytes of TLVs.
pub(super) fn v2_long(length: usize, before: usize) -> Vec<u8> {
    let mut body = vec![203, 0, 113, 9, 192, 0, 2, 1, 0xc8, 0x22, 1, 187];
    let pad = |body: &mut Vec<u8>, bytes: usize| {
        body.push(0xe4);
        body.extend(u16::try_from(bytes - 3).expect("one TLV").to_be_bytes());
        body.extend((3..bytes).map(|number| (number * 7) as u8));
    };
    pad(&mut body, before);
    let at = 16 + body.len() + 3;
    body.extend([3, 0, 4, 0, 0, 0, 0]);
    let left = length - 16 - body.len();
    pad(&mut body, left);
    let mut header = v2_raw(0x21, 0x11, &body);
    let checksum = crc32c(&header);
    header[at..at + 4].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// Of each kind one, with the client that it names.
pub(super) fn all() -> [(&'static str, Vec<u8>, &'static str); 3] {
    [
        ("version 1", v1(), CLIENT),
        ("version 2, IPv4", v2(), CLIENT),
        ("version 2, IPv6 with TLVs and checksum", v2_with_checksum(), CLIENT6),
    ]
}

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0x82f6_3b78 }
        })
    })
}
