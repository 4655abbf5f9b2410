//! What a header says.

use crate::address::{Client, Destination, Endpoint};
use crate::flow::Origin;

/// A header that was read in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 1 or 2; 0 of [`Header::NONE`].
    pub version: u8,
    /// What the header says of the client.
    pub origin: Origin,
    /// The header announces datagrams. A proxy of UDP writes so when its back end speaks TCP (DNS).
    pub datagram: bool,
    /// Bytes of the whole header; the application's first byte is at this offset.
    pub length: u32,
    /// Offset of the first TLV; equal to `length` where there are none.
    pub tlvs: u32,
    /// The client, if the origin is [`Origin::Proxied`].
    pub client: Client,
    /// The address the client connected to, if the origin is [`Origin::Proxied`].
    pub destination: Destination,
}

impl Header {
    /// A header before anything is known about it.
    pub const EMPTY: Self = Self {
        version: 0,
        origin: Origin::Unknown,
        datagram: false,
        length: 0,
        tlvs: 0,
        client: Client(Endpoint::UNSPECIFIED),
        destination: Destination(Endpoint::UNSPECIFIED),
    };
    /// Of a connection of the load balancer's own that has no header.
    pub const NONE: Self = Self { origin: Origin::Local, ..Self::EMPTY };
}
