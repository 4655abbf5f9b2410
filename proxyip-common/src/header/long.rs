//! Headers longer than [`MAX_LENGTH`](super::MAX_LENGTH): read as they come, byte by byte, because they are never in
//! memory as a whole.
//!
//! Only version 2 has them. What is before the TLVs is read like that of any header.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{crc32c, error::HeaderError, parsed::Header, parser::Parser, source::Source, v2};

/// The state of reading a long header. It is kept between the segments that bring one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Long {
    /// Offset of the next byte.
    at: u32,
    /// Length of the header; 0 before it is known.
    end: u32,
    /// Offset of the next TLV.
    next: u32,
    /// Offset of the checksum's value; 0 while there is none.
    field: u32,
    /// The checksum so far.
    crc: u32,
    /// The checksum that the header announces, host order.
    announced: u32,
    /// The first two bytes of the TLV that is being read.
    head: [u8; 2],
    /// Zero.
    reserved: [u8; 6],
}

/// Bytes of a TLV's type and length.
const HEAD: u32 = 3;
/// Bytes of a checksum.
const FIELD: u32 = 4;

impl Long {
    /// Before it is known that the header is a long one.
    pub const NONE: Self = Self {
        at: 0,
        end: 0,
        next: 0,
        field: 0,
        crc: u32::MAX,
        announced: 0,
        head: [0; 2],
        reserved: [0; 6],
    };

    /// Whether it is known that the header is a long one.
    #[inline(always)]
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.end != 0
    }

    /// Whether all of it has been read.
    #[inline(always)]
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.has_begun() && self.at == self.end
    }

    /// How many bytes of the header have been read.
    #[inline(always)]
    #[must_use]
    pub const fn read(&self) -> u32 {
        self.at
    }

    /// Begins a header whose fixed part has arrived. No byte of it counts as read.
    ///
    /// # Errors
    /// Those of [`v2::length`].
    #[inline(always)]
    pub fn begin<S: Source + ?Sized>(source: &S) -> Result<Self, HeaderError> {
        let end = v2::length(source)? as u32;
        let next = v2::tlvs_at(source).map_or(end, |at| at as u32);
        Ok(Self { end, next, ..Self::NONE })
    }

    /// Reads the next byte; whether the header has ended with it.
    ///
    /// # Errors
    /// The reason why the connection must be refused.
    #[inline(always)]
    pub fn push(&mut self, byte: u8) -> Result<bool, HeaderError> {
        let into = self.at.wrapping_sub(self.next);
        if into < HEAD {
            self.push_head(into, byte)?;
        }
        let mut counted = byte;
        if self.field != 0 && self.at.wrapping_sub(self.field) < FIELD {
            self.announced = self.announced << 8 | u32::from(byte);
            counted = 0;
        }
        self.crc = crc32c::update(self.crc, counted);
        self.at += 1;
        if self.at < self.end {
            return Ok(false);
        }
        // One or two bytes behind the last TLV are none.
        if self.next != self.end {
            return Err(HeaderError::V2Tlv);
        }
        if self.field != 0 && self.announced != !self.crc {
            return Err(HeaderError::V2Checksum);
        }
        Ok(true)
    }

    /// Takes a byte of a TLV's type and length.
    #[inline(always)]
    fn push_head(&mut self, into: u32, byte: u8) -> Result<(), HeaderError> {
        match into {
            0 => {
                self.head[0] = byte;
                return Ok(());
            }
            1 => {
                self.head[1] = byte;
                return Ok(());
            }
            _ => {}
        }
        let [kind, high] = self.head;
        let length = u32::from(u16::from_be_bytes([high, byte]));
        let value = self.next + HEAD;
        if value + length > self.end {
            return Err(HeaderError::V2Tlv);
        }
        self.next = value + length;
        if kind == v2::TYPE_CRC32C {
            if length != FIELD || self.field != 0 {
                return Err(HeaderError::V2Checksum);
            }
            self.field = value;
        }
        Ok(())
    }
}

/// Reads a long header that lies in memory as a whole, or its beginning.
pub(super) fn parse<S: Source + ?Sized>(source: &S) -> Result<Header, HeaderError> {
    let mut long = Long::begin(source)?;
    loop {
        let Some([byte]) = source.read::<1>(long.read() as usize) else {
            return Err(HeaderError::Incomplete);
        };
        if long.push(byte)? {
            break;
        }
    }
    beginning(source)
}

/// Reads what comes before the TLVs of a version 2 header. Of a long one the first [`MAX_LENGTH`](super::MAX_LENGTH)
/// bytes are enough.
///
/// # Errors
/// Those of [`Parser::step`].
pub fn beginning<S: Source + ?Sized>(source: &S) -> Result<Header, HeaderError> {
    let mut parser = Parser::START;
    parser.step(source)?;
    Ok(parser.header)
}

#[cfg(test)]
mod tests {
    use super::super::{LONGEST, MAX_LENGTH, parse};
    use super::*;

    const IPV4: [u8; 12] = [203, 0, 113, 9, 192, 0, 2, 1, 0xc8, 0x22, 0x01, 0xbb];
    const FIXED: usize = v2::FIXED_LENGTH;

    /// A header with these TLVs and one more that fills it up to `length` bytes.
    fn padded(command: u8, length: usize, tlvs: &[(u8, &[u8])]) -> Vec<u8> {
        let mut body = IPV4.to_vec();
        let mut put = |kind: u8, value: &[u8]| {
            body.push(kind);
            body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(value);
        };
        for (kind, value) in tlvs {
            put(*kind, value);
        }
        let used: usize = tlvs.iter().map(|(_, value)| 3 + value.len()).sum();
        put(0xe4, &vec![7; length - FIXED - IPV4.len() - used - 3]);
        let announced = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&v2::SIGNATURE[..], &[command, 0x11], &announced, &body].concat()
    }

    /// Fills in the checksum whose value is at this offset.
    fn seal(header: &mut [u8], at: usize) {
        header[at..at + 4].fill(0);
        let crc = header.iter().fold(u32::MAX, |crc, byte| crc32c::update(crc, *byte));
        header[at..at + 4].copy_from_slice(&(!crc).to_be_bytes());
    }

    /// Everything that a header is read for is the same whatever its length.
    #[test]
    fn the_end_of_a_long_header_is_skipped() {
        for length in [MAX_LENGTH + 1, 5000, 65_535, 65_536, LONGEST] {
            let bytes = padded(0x21, length, &[(0x01, b"h2")]);
            assert_eq!(bytes.len(), length);
            let header = parse(&[&bytes[..], b"GET /"].concat()[..]).unwrap();
            assert_eq!((header.length as usize, header.tlvs), (length, 28));
            let short = parse(&padded(0x21, 100, &[(0x01, b"h2")])[..]).unwrap();
            assert_eq!((header.client, header.destination), (short.client, short.destination));
            assert_eq!(header.origin, short.origin);
            assert_eq!(beginning(&bytes[..MAX_LENGTH]), Ok(header));
            for present in [FIXED, 17, 300, MAX_LENGTH, MAX_LENGTH + 1, length - 1] {
                if present < length {
                    assert_eq!(parse(&bytes[..present]), Err(HeaderError::Incomplete));
                }
            }
        }
    }

    #[test]
    fn a_checksum_covers_all_of_a_long_header() {
        // At its beginning, across the end of what is kept, and at its end.
        let filler = vec![1; 4096 - FIXED - 12 - 3 - 3 - 2];
        for before in [&[][..], &filler[..], &vec![2; 60_000][..]] {
            let tlvs: &[(u8, &[u8])] = &[(0xe5, before), (0x03, &[0; 4])];
            let mut bytes = padded(0x21, 65_000, tlvs);
            let at = FIXED + 12 + 3 + before.len() + 3;
            seal(&mut bytes, at);
            assert!(parse(&bytes[..]).is_ok(), "at {at}");
            for index in
                [16, at - 4, at, at + 3, at + 7, 64_999].into_iter().filter(|i| *i != at - 3)
            {
                let mut wrong = bytes.clone();
                wrong[index] ^= 1;
                assert!(parse(&wrong[..]).is_err(), "a changed byte {index} is noticed");
            }
        }
    }

    #[test]
    fn a_long_header_that_is_wrong() {
        use HeaderError as R;
        let wrong = |length: usize, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = padded(0x21, length, &[]);
            change(&mut bytes);
            parse(&bytes[..])
        };
        // The length of the only TLV is at 29.
        assert_eq!(wrong(5000, &|bytes| bytes[30] += 1), Err(R::V2Tlv));
        assert_eq!(wrong(5000, &|bytes| bytes[30] -= 1), Err(R::V2Tlv), "a lone byte behind it");
        assert_eq!(wrong(5000, &|bytes| bytes[28] = 3), Err(R::V2Checksum), "of another length");
        let twice = padded(0x21, 5000, &[(0x03, &[0; 4]), (0x03, &[0; 4])]);
        assert_eq!(parse(&twice[..]), Err(R::V2Checksum));
        assert_eq!(wrong(5000, &|bytes| bytes[13] = 0x41), Err(R::V2Family));
    }

    #[test]
    fn what_local_and_unspecified_headers_hold_is_not_read() {
        for (command, family) in [(0x20, 0x11), (0x21, 0x00)] {
            let mut bytes = padded(command, LONGEST, &[(0x03, &[1; 4])]);
            bytes[13] = family;
            bytes[40..50].fill(0xff);
            let header = parse(&bytes[..]).unwrap();
            assert_eq!((header.length as usize, header.tlvs as usize), (LONGEST, LONGEST));
        }
    }
}
