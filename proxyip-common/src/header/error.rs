//! What is wrong with a header.

/// The first rule that the bytes break.
///
/// The kernel programs count each as the [`DropReason`](crate::counter::DropReason) that is made from it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderError {
    /// The first bytes cannot begin a header.
    Missing,
    /// All present bytes could begin a header.
    Incomplete,
    /// Version 1: no CRLF within the longest line.
    V1TooLong,
    /// Version 1: the protocol is not TCP4, TCP6 or UNKNOWN.
    V1Family,
    /// Version 1: not an address of the announced family.
    V1Address,
    /// Version 1: not a canonical port number.
    V1Port,
    /// Version 1: the line does not end in CRLF where it must.
    V1LineEnd,
    /// Version 2: the version field is not 2.
    V2Version,
    /// Version 2: the command is neither LOCAL nor PROXY.
    V2Command,
    /// Version 2: the address family or transport does not exist, or addresses have no transport.
    V2Family,
    /// Version 2: the length is shorter than the family's addresses.
    V2Length,
    /// Version 2: a TLV is longer than the header.
    V2Tlv,
    /// Version 2: the CRC32C does not match.
    V2Checksum,
}
