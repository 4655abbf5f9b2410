//! PROXY headers, good and nearly good, from a fuzzer's bytes.
//!
//! The first byte chooses: 0 takes the rest as it is, 1 makes a version 2 header of it, 2 a version 1 line. What is
//! random in a header are its parts, so that a fuzzer gets past the first of them.

use std::net::{Ipv4Addr, Ipv6Addr};

use arbitrary::{Arbitrary, Result, Unstructured};

/// The bytes that this input stands for.
#[must_use]
pub fn bytes(input: &[u8]) -> Vec<u8> {
    let Some((kind, rest)) = input.split_first() else { return Vec::new() };
    let parts = &mut Unstructured::new(rest);
    let made = match kind % 3 {
        0 => return rest.to_vec(),
        1 => binary(parts),
        _ => text(parts),
    };
    made.unwrap_or_default()
}

/// A version 2 header (§2.2), perhaps with something behind it, or cut off.
fn binary(parts: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let command = mostly(parts, &[0x21, 0x21, 0x21, 0x20])?;
    let family = mostly(parts, &[0x11, 0x21, 0x11, 0x21, 0x31, 0x00, 0x01, 0x12, 0x32])?;
    let mut body = match family >> 4 {
        1 => parts.bytes(12)?.to_vec(),
        2 => parts.bytes(36)?.to_vec(),
        3 => vec![b'/'; 216],
        _ => Vec::new(),
    };
    let mut checksum = None;
    for _ in 0..parts.int_in_range(0..=6)? {
        let kind = mostly(parts, &[0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30, 0xe0, 0xea, 0xee])?;
        let value = value(parts, kind)?;
        if kind == 0x03 && value.len() == 4 {
            checksum = Some(16 + body.len() + 3);
        }
        vector(&mut body, kind, &value);
    }
    let length = match parts.int_in_range(0..=15_u8)? {
        0 => u16::arbitrary(parts)?,
        1 => (body.len() as u16).wrapping_sub(1),
        2 => (body.len() as u16).wrapping_add(1),
        _ => body.len() as u16,
    };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend(length.to_be_bytes());
    header.extend(body);
    // The field is zero while the checksum is computed; now and then it stays so.
    if let Some(at) = checksum
        && parts.ratio(7, 8)?
    {
        header[at..at + 4].fill(0);
        let checksum = crc32c(&header);
        header[at..at + 4].copy_from_slice(&checksum.to_be_bytes());
    }
    finish(parts, header)
}

/// The value of a vector.
fn value(parts: &mut Unstructured<'_>, kind: u8) -> Result<Vec<u8>> {
    if kind == 0x03 && parts.ratio(7, 8)? {
        return Ok(vec![0; 4]);
    }
    if kind == 0x20 && parts.ratio(3, 4)? {
        let mut ssl = parts.bytes(5)?.to_vec();
        for _ in 0..parts.int_in_range(0..=3)? {
            let field = parts.int_in_range(0x20..=0x29)?;
            let value = some_bytes(parts)?;
            vector(&mut ssl, field, &value);
        }
        return Ok(ssl);
    }
    some_bytes(parts)
}

fn vector(to: &mut Vec<u8>, kind: u8, value: &[u8]) {
    to.push(kind);
    to.extend((value.len() as u16).to_be_bytes());
    to.extend(value);
}

fn some_bytes(parts: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let length = match parts.int_in_range(0..=15)? {
        0 => parts.int_in_range(0..=4096)?,
        short => short - 1,
    };
    let fill = u8::arbitrary(parts)?;
    let given = parts.bytes(length.min(parts.len()).min(32))?;
    let mut value = given.to_vec();
    value.resize(length, fill);
    Ok(value)
}

/// CRC32C, bit by bit from its definition (RFC 3720 appendix B.4).
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

/// A version 1 line (§2.1), well-formed or not.
fn text(parts: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let protocol = *parts.choose(&["TCP4", "TCP6", "TCP6", "TCP4", "UNKNOWN", "UDP4", "TCP"])?;
    let mut line = format!("PROXY {protocol}");
    for _ in 0..2 {
        line += separator(parts)?;
        line += &address(parts, protocol)?;
    }
    for _ in 0..2 {
        line += separator(parts)?;
        line += &port(parts)?;
    }
    line += parts.choose(&["\r\n", "\r\n", "\r\n", "\n", "\r", "", " \r\n", "\r\r\n"])?;
    let mut line = line.into_bytes();
    if parts.ratio(1, 8)? {
        let at = parts.choose_index(line.len())?;
        line[at] = u8::arbitrary(parts)?;
    }
    finish(parts, line)
}

fn separator(parts: &mut Unstructured<'_>) -> Result<&'static str> {
    Ok(if parts.ratio(1, 32)? { *parts.choose(&["", "  ", "\t"])? } else { " " })
}

fn address(parts: &mut Unstructured<'_>, protocol: &str) -> Result<String> {
    let v6 = parts.ratio(1, 8)? != (protocol == "TCP6");
    let bits = u128::arbitrary(parts)?;
    // Runs of zero groups are written in many ways.
    let mask = if bool::arbitrary(parts)? { u128::MAX } else { bits.rotate_left(37) & bits << 16 };
    let address = Ipv6Addr::from(bits & mask);
    let groups = address.segments();
    Ok(match parts.int_in_range(0..=7)? {
        0 => characters(parts, "0123456789abcdefABCDEF:.:.:")?,
        1 if v6 => format!("::ffff:{}", Ipv4Addr::from(bits as u32)),
        2 if v6 => groups.map(|group| format!("{group:x}")).join(":"),
        3 if v6 => groups.map(|group| format!("{group:04X}")).join(":"),
        4 if v6 => format!("{:x}:{:x}::{}", groups[0], groups[1], Ipv4Addr::from(bits as u32)),
        _ if v6 => address.to_string(),
        _ => Ipv4Addr::from(bits as u32).to_string(),
    })
}

fn port(parts: &mut Unstructured<'_>) -> Result<String> {
    Ok(match parts.int_in_range(0..=7)? {
        0 => characters(parts, "0123456789+- ")?,
        1 => format!("0{}", u8::arbitrary(parts)?),
        2 => u32::arbitrary(parts)?.to_string(),
        _ => u16::arbitrary(parts)?.to_string(),
    })
}

fn characters(parts: &mut Unstructured<'_>, alphabet: &str) -> Result<String> {
    let length = parts.int_in_range(0..=40)?;
    (0..length).map(|_| Ok(char::from(*parts.choose(alphabet.as_bytes())?))).collect()
}

/// One of the usual values, or now and then any.
fn mostly(parts: &mut Unstructured<'_>, usual: &[u8]) -> Result<u8> {
    if parts.ratio(1, 16)? { u8::arbitrary(parts) } else { parts.choose(usual).copied() }
}

/// Cuts the header off, or lets something follow it.
fn finish(parts: &mut Unstructured<'_>, mut header: Vec<u8>) -> Result<Vec<u8>> {
    if parts.ratio(1, 8)? {
        header.truncate(parts.int_in_range(0..=header.len())?);
    } else {
        header.extend(parts.bytes(parts.len())?);
    }
    Ok(header)
}
