//! The state machine that reads the addresses and ports of a version 1 line.

use super::super::{error::HeaderError, parsed::Header, source::Source};
use super::address::{MAPPED, NO_GAP, Text};
use crate::address::{Client, Destination, Endpoint};
use crate::flow::Origin;

/// The longest line in bytes, CRLF included.
pub const MAX_LENGTH: usize = 107;

/// Where `TCP4 ` and `TCP6 ` end.
const ADDRESSES: usize = 11;
/// Where `UNKNOWN` ends.
pub(super) const AFTER_UNKNOWN: usize = 13;

/// Not a number of a dotted quad.
const NOT_DECIMAL: u16 = 1000;

/// What the next byte belongs to, in the order of the line.
mod field {
    pub(super) const SOURCE_ADDRESS: u8 = 0;
    pub(super) const DESTINATION_ADDRESS: u8 = 1;
    pub(super) const SOURCE_PORT: u8 = 2;
    pub(super) const DESTINATION_PORT: u8 = 3;
    pub(super) const LINE_FEED: u8 = 4;
    pub(super) const DONE: u8 = 5;
    /// What follows `UNKNOWN`, up to CRLF.
    pub(super) const IGNORED: u8 = 6;
}

/// The state of reading one line.
#[derive(Clone, Copy, Debug)]
pub(in crate::header) struct Line {
    /// Offset of the next byte.
    at: usize,
    /// The address being read.
    address: Text,
    source: Text,
    destination: Text,
    source_port: [u8; 2],
    destination_port: [u8; 2],
    /// The number being read, as hexadecimal in an IPv6 address, else as decimal.
    number: u32,
    /// The same digits as decimal, for the dotted quad at the end of an IPv6 address.
    decimal: u16,
    /// A [`field`].
    field: u8,
    /// 4, 6, or 0 for `UNKNOWN`.
    family: u8,
    /// Digits of the number so far.
    digits: u8,
    /// Colons directly before this byte.
    colons: u8,
    /// Dots of the dotted quad so far.
    dots: u8,
}

impl Line {
    /// A line whose addresses come next; `family` is 4 or 6.
    #[inline(always)]
    pub(super) const fn new(family: u8) -> Self {
        Self {
            at: ADDRESSES,
            address: Text::EMPTY,
            source: Text::EMPTY,
            destination: Text::EMPTY,
            source_port: [0; 2],
            destination_port: [0; 2],
            number: 0,
            decimal: 0,
            field: field::SOURCE_ADDRESS,
            family,
            digits: 0,
            colons: 0,
            dots: 0,
        }
    }

    /// A line whose rest, up to CRLF, the receiver ignores.
    #[inline(always)]
    pub(in crate::header) const fn unknown() -> Self {
        let mut line = Self::new(0);
        line.at = AFTER_UNKNOWN;
        line.field = field::IGNORED;
        line
    }

    /// What the line says, once it has ended.
    #[inline(always)]
    pub(super) fn write(&mut self, header: &mut Header) {
        self.source.expand();
        self.destination.expand();
        let (source, destination) = (&self.source.bytes, &self.destination.bytes);
        *header = Header {
            version: 1,
            origin: if self.family == 0 { Origin::Unknown } else { Origin::Proxied },
            datagram: false,
            length: self.at as u32,
            tlvs: self.at as u32,
            client: Client(Endpoint::from_v6(*source, self.source_port)),
            destination: Destination(Endpoint::from_v6(*destination, self.destination_port)),
        };
    }

    /// Reads the next byte and takes it; whether the line has ended with it.
    #[inline(always)]
    pub(super) fn next<S: Source + ?Sized>(&mut self, source: &S) -> Result<bool, HeaderError> {
        if self.at >= MAX_LENGTH {
            return Err(HeaderError::V1TooLong);
        }
        let Some([byte]) = source.read::<1>(self.at) else {
            return Err(HeaderError::Incomplete);
        };
        self.at += 1;
        self.push(byte)?;
        Ok(self.field == field::DONE)
    }

    /// Takes one byte.
    #[inline(always)]
    fn push(&mut self, byte: u8) -> Result<(), HeaderError> {
        match self.field {
            field::SOURCE_ADDRESS | field::DESTINATION_ADDRESS => self.push_address(byte),
            field::SOURCE_PORT | field::DESTINATION_PORT => self.push_port(byte),
            field::IGNORED => {
                if byte == b'\r' {
                    self.field = field::LINE_FEED;
                }
                if byte == b'\n' { Err(HeaderError::V1LineEnd) } else { Ok(()) }
            }
            field::LINE_FEED if byte == b'\n' => {
                self.field = field::DONE;
                Ok(())
            }
            _ => Err(HeaderError::V1LineEnd),
        }
    }

    #[inline(always)]
    fn push_address(&mut self, byte: u8) -> Result<(), HeaderError> {
        // First: most bytes are.
        let decimal = byte.wrapping_sub(b'0');
        if decimal <= 9 {
            return self.address_digit(decimal);
        }
        match byte {
            b' ' => self.end_address(),
            b'.' => self.end_octet(true),
            b':' if self.may_be_ipv6() => self.colon(),
            b'\r' | b'\n' => Err(HeaderError::V1LineEnd),
            _ => self.letter(byte),
        }
    }

    /// Whether the address being read may be one of IPv6. nginx announces the family of the client, and names its own
    /// socket of another family as the destination. Only the client must be of the announced family. A `TCP6` line may
    /// name any client, because an IPv4 address is an IPv4-mapped one too.
    #[inline(always)]
    const fn may_be_ipv6(&self) -> bool {
        self.family == 6 || self.field == field::DESTINATION_ADDRESS
    }

    #[inline(always)]
    fn letter(&mut self, byte: u8) -> Result<(), HeaderError> {
        match (byte | 0x20).wrapping_sub(b'a') {
            letter @ 0..=5 if self.may_be_ipv6() => self.address_digit(letter + 10),
            _ => Err(HeaderError::V1Address),
        }
    }

    #[inline(always)]
    fn address_digit(&mut self, digit: u8) -> Result<(), HeaderError> {
        // A lone colon cannot begin an address.
        if self.colons == 1 && self.address.filled == 0 || self.digits >= 4 {
            return Err(HeaderError::V1Address);
        }
        let leading_zero = self.digits > 0 && self.decimal == 0;
        self.decimal = if digit > 9 || self.decimal > 99 || leading_zero {
            NOT_DECIMAL
        } else {
            self.decimal * 10 + u16::from(digit)
        };
        self.number = self.number << 4 | u32::from(digit);
        self.digits += 1;
        self.colons = 0;
        Ok(())
    }

    #[inline(always)]
    fn colon(&mut self) -> Result<(), HeaderError> {
        if self.dots > 0 {
            return Err(HeaderError::V1Address);
        }
        if self.digits > 0 {
            self.end_group()?;
            self.colons = 1;
            return Ok(());
        }
        match self.colons {
            0 => self.colons = 1,
            1 if self.address.gap == NO_GAP => {
                self.address.gap = self.address.filled;
                self.colons = 2;
            }
            _ => return Err(HeaderError::V1Address),
        }
        Ok(())
    }

    /// Ends 16 bits of an IPv6 address.
    #[inline(always)]
    fn end_group(&mut self) -> Result<(), HeaderError> {
        let [.., high, low] = self.number.to_be_bytes();
        self.address.put(high)?;
        self.address.put(low)?;
        self.next_number();
        Ok(())
    }

    /// Ends 8 bits of a dotted quad; `dot` tells whether a dot did it.
    #[inline(always)]
    fn end_octet(&mut self, dot: bool) -> Result<(), HeaderError> {
        let begins = self.dots == 0 && self.address.gap == NO_GAP;
        if begins && self.address.filled == 0 {
            self.address.map();
        }
        // The quad is the last 32 bits (RFC 4291 §2.2, form 3).
        let misplaced = begins && self.address.filled != MAPPED;
        if self.digits == 0 || self.decimal > 255 || misplaced || dot && self.dots == 3 {
            return Err(HeaderError::V1Address);
        }
        self.address.put(self.decimal as u8)?;
        self.next_number();
        self.dots += u8::from(dot);
        Ok(())
    }

    #[inline(always)]
    fn next_number(&mut self) {
        self.number = 0;
        self.decimal = 0;
        self.digits = 0;
    }

    #[inline(always)]
    fn end_address(&mut self) -> Result<(), HeaderError> {
        if self.dots > 0 {
            if self.dots != 3 {
                return Err(HeaderError::V1Address);
            }
            self.end_octet(false)?;
        } else if self.digits > 0 {
            self.end_group()?;
        } else if self.colons != 2 {
            return Err(HeaderError::V1Address);
        }
        if !self.address.is_whole() {
            return Err(HeaderError::V1Address);
        }
        if self.field == field::SOURCE_ADDRESS {
            self.source = self.address;
        } else {
            self.destination = self.address;
        }
        self.field += 1;
        self.address = Text::EMPTY;
        self.colons = 0;
        self.dots = 0;
        Ok(())
    }

    #[inline(always)]
    fn push_port(&mut self, byte: u8) -> Result<(), HeaderError> {
        let last = self.field == field::DESTINATION_PORT;
        match byte {
            b' ' if !last => self.end_port(),
            b'\r' if last => self.end_port(),
            b'\r' | b'\n' => Err(HeaderError::V1LineEnd),
            b'0'..=b'9' => {
                let leading_zero = self.digits > 0 && self.number == 0;
                self.number = self.number * 10 + u32::from(byte - b'0');
                self.digits += 1;
                if leading_zero || self.number > u32::from(u16::MAX) {
                    return Err(HeaderError::V1Port);
                }
                Ok(())
            }
            _ => Err(HeaderError::V1Port),
        }
    }

    #[inline(always)]
    fn end_port(&mut self) -> Result<(), HeaderError> {
        if self.digits == 0 {
            return Err(HeaderError::V1Port);
        }
        let port = (self.number as u16).to_be_bytes();
        if self.field == field::SOURCE_PORT {
            self.source_port = port;
        } else {
            self.destination_port = port;
        }
        self.field += 1;
        self.next_number();
        Ok(())
    }
}
