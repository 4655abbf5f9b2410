//! Ethernet and IP headers.

/// Length of an Ethernet header without tags.
pub const ETHERNET: usize = 14;

/// Ethernet types, as a packet's context has them: in network byte order, in the lower half.
pub const ETHERTYPE_IPV4: u32 = (0x0800_u16.to_be()) as u32;
/// See [`ETHERTYPE_IPV4`].
pub const ETHERTYPE_IPV6: u32 = (0x86dd_u16.to_be()) as u32;

/// Length of an IPv4 header without options.
pub const IPV4: usize = 20;

/// The first byte of an IPv4 header without options: its version, and its length in words.
pub const NO_OPTIONS: u8 = 0x45;

/// In [`Ipv4Header::fragment`]: where the fragment begins.
pub const FRAGMENT_OFFSET: u16 = 0x1fff;

/// In [`Ipv4Header::fragment`]: there are more.
pub const MORE_FRAGMENTS: u16 = 0x2000;

/// Length of an IPv6 header without extension headers.
pub const IPV6: usize = 40;

/// An IPv4 header without options (RFC 791 §3.1).
#[repr(C, align(4))]
pub struct Ipv4Header {
    pub version_length: u8,
    pub service: u8,
    pub total: [u8; 2],
    pub identification: [u8; 2],
    pub fragment: [u8; 2],
    pub hops: u8,
    pub protocol: u8,
    pub checksum: [u8; 2],
    pub source: [u8; 4],
    pub destination: [u8; 4],
}

/// An IPv6 header (RFC 8200 §3).
#[repr(C, align(4))]
pub struct Ipv6Header {
    pub version: [u8; 4],
    pub length: [u8; 2],
    pub next: u8,
    pub hops: u8,
    pub source: [u32; 4],
    pub destination: [u32; 4],
}
