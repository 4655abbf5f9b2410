//! The clients that headers name.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use proxyip_tests::header;

/// Where the addresses stand in a version 2 header over IPv4.
const ADDRESS_AT: usize = 16;
const PORT_AT: usize = 24;

/// The clients' ports.
const PORTS: Range<u16> = 20_000..60_000;

/// A row of addresses. After the last comes the first again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clients {
    pub(crate) first: Ipv4Addr,
    /// From one to the next.
    pub(crate) step: u32,
    pub(crate) number: u32,
}

impl Clients {
    /// The 256 of a small network.
    pub(crate) const FEW: Self =
        Self { first: Ipv4Addr::new(198, 51, 100, 0), step: 1, number: 256 };

    /// Any of them, by number.
    pub(crate) fn get(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first) + number % self.number * self.step)
    }
}

/// A header whose client changes from one connection to the next.
pub(crate) struct Header {
    clients: Clients,
    bytes: Vec<u8>,
}

/// How many headers there were. A client must not come back from the same port at once: a proxy on the server's host may still
/// have the rest of its last connection.
static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Header {
    pub(crate) fn new(clients: Clients, target: SocketAddrV4) -> Self {
        let client = SocketAddrV4::new(clients.first, PORTS.start);
        Self { clients, bytes: header::v2(client.into(), target.into()) }
    }

    /// The next one, and its client.
    pub(crate) fn next(&mut self) -> (&[u8], Ipv4Addr) {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let client = self.clients.get(number);
        let ports = u32::from(PORTS.end - PORTS.start);
        let port = number / self.clients.number % ports;
        let port = PORTS.start + u16::try_from(port).expect("less than a port");
        self.bytes[ADDRESS_AT..ADDRESS_AT + 4].copy_from_slice(&client.octets());
        self.bytes[PORT_AT..PORT_AT + 2].copy_from_slice(&port.to_be_bytes());
        (&self.bytes, client)
    }
}

/// Who the server must see.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Visitors {
    /// Headers name them.
    Named(Clients),
    /// There are no headers: the load generator's own address.
    Generator(Ipv4Addr),
}

/// What connections begin with.
pub(crate) enum Greeting {
    Header(Header),
    Nothing(Ipv4Addr),
}

impl Greeting {
    pub(crate) fn new(visitors: Visitors, target: SocketAddrV4) -> Self {
        match visitors {
            Visitors::Named(clients) => Self::Header(Header::new(clients, target)),
            Visitors::Generator(client) => Self::Nothing(client),
        }
    }

    /// That of the next connection, and its client.
    pub(crate) fn next(&mut self) -> (&[u8], Ipv4Addr) {
        match self {
            Self::Header(header) => header.next(),
            Self::Nothing(client) => (&[], *client),
        }
    }
}
