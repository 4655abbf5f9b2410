//! Properties of the grammar that hold for any bytes.

use std::{cell::RefCell, net::Ipv6Addr};

use proxyip_common::{
    address::Endpoint,
    flow::Origin,
    header::{
        Header, HeaderError, LONGEST, MAX_LENGTH, Parser, Version,
        long::{Long, beginning},
        parse,
        tlv::{SslField, Tlv, Tlvs, Vectors},
        v2, version,
    },
};

/// Checks everything.
pub fn check(bytes: &[u8]) {
    let verdict = parse(bytes);
    assert_eq!(step_by_step(bytes), verdict, "a parser that has read another header");
    prefixes(bytes);
    match verdict {
        Ok(header) => accepted(bytes, &header),
        Err(reason) => refused(bytes, reason),
    }
}

thread_local! {
    /// As in the kernel programs, one parser reads all headers.
    static PARSER: RefCell<Parser> = const { RefCell::new(Parser::START) };
}

/// Parses as the kernel programs do, with a limit.
fn step_by_step(bytes: &[u8]) -> Result<Header, HeaderError> {
    if version(bytes) == Ok(Version::V2) && v2::length(bytes)? > MAX_LENGTH {
        return byte_by_byte(bytes);
    }
    PARSER.with_borrow_mut(|parser| {
        parser.restart();
        for _ in 0..Parser::MAX_STEPS {
            if !parser.step(bytes)? {
                return Ok(parser.header);
            }
        }
        panic!("more than {} steps", Parser::MAX_STEPS)
    })
}

/// Reads a long header. The kernel programs never have all its bytes at once.
fn byte_by_byte(bytes: &[u8]) -> Result<Header, HeaderError> {
    let mut long = Long::begin(bytes)?;
    for byte in bytes {
        if long.push(*byte)? {
            return beginning(&bytes[..MAX_LENGTH]);
        }
    }
    Err(HeaderError::Incomplete)
}

/// What is said of a prefix is never taken back: it is incomplete, then it has one verdict for good.
fn prefixes(bytes: &[u8]) {
    let mut last = None;
    for length in 0..=bytes.len() {
        // Of a long input, its beginning and its end, and some of what is between.
        if length > 300 && length + 40 < bytes.len() && length % 37 != 0 {
            continue;
        }
        let verdict = parse(&bytes[..length]);
        match last {
            None if verdict == Err(HeaderError::Incomplete) => {}
            None => last = Some(verdict),
            Some(last) => assert_eq!(verdict, last, "the verdict changed with byte {length}"),
        }
    }
}

fn accepted(bytes: &[u8], header: &Header) {
    let (length, tlvs) = (header.length as usize, header.tlvs as usize);
    assert!(length <= LONGEST && length <= bytes.len() && tlvs <= length);
    assert_eq!(parse(&bytes[..length]), Ok(*header), "what follows the header matters");
    let shorter = parse(&bytes[..length - 1]);
    assert_eq!(shorter, Err(HeaderError::Incomplete), "a byte of the header does not matter");
    if header.version == 2 {
        // The kernel programs copy as many bytes as this says.
        assert_eq!(v2::length(&bytes[..v2::FIXED_LENGTH]), Ok(length));
    }
    let mut checksums = 0;
    for vector in Tlvs::new(&bytes[tlvs..length]) {
        match vector.expect("the walk over vectors has seen them all") {
            Tlv::Crc32c(_) => checksums += 1,
            Tlv::Ssl(ssl) => {
                ssl.fields().for_each(|field| drop(format!("{:?}", SslField::from(field))));
            }
            _ => {}
        }
    }
    assert!(checksums <= 1);
    if header.origin == Origin::Proxied {
        for again in [text(header), binary(header)] {
            let again = parse(&again[..]).expect("what is written can be read");
            assert_eq!((again.client, again.destination), (header.client, header.destination));
        }
    }
}

fn refused(bytes: &[u8], reason: HeaderError) {
    if reason != HeaderError::V2Tlv {
        return;
    }
    let end = v2::length(bytes).expect("vectors are read last");
    let addresses = match bytes[13] >> 4 {
        1 => 12,
        2 => 36,
        _ => 216,
    };
    let vectors = Vectors::new(&bytes[v2::FIXED_LENGTH + addresses..end.min(bytes.len())]);
    assert!(vectors.into_iter().any(|vector| vector.is_err()), "readers of vectors disagree");
}

/// The header's addresses as a version 1 line.
fn text(header: &Header) -> Vec<u8> {
    let (client, destination) = (header.client.0, header.destination.0);
    let ports = (client.port(), destination.port());
    let ip = |end: &Endpoint| end.to_socket_addr().ip();
    let ipv6 = |end: &Endpoint| Ipv6Addr::from(end.address());
    let line = if client.v4().is_some() && destination.v4().is_some() {
        format!("PROXY TCP4 {} {} {} {}\r\n", ip(&client), ip(&destination), ports.0, ports.1)
    } else {
        format!("PROXY TCP6 {} {} {} {}\r\n", ipv6(&client), ipv6(&destination), ports.0, ports.1)
    };
    line.into_bytes()
}

/// The same as a version 2 header.
fn binary(header: &Header) -> Vec<u8> {
    let (client, destination) = (header.client.0, header.destination.0);
    let mut bytes = v2::SIGNATURE.to_vec();
    if let (Some(client), Some(destination)) = (client.v4(), destination.v4()) {
        bytes.extend([0x21, 0x11, 0, 12]);
        bytes.extend([client, destination].concat());
    } else {
        bytes.extend([0x21, 0x21, 0, 36]);
        bytes.extend([client.address(), destination.address()].concat());
    }
    bytes.extend([client.port_bytes(), destination.port_bytes()].concat());
    bytes
}
