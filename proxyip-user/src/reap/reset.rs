//! Sends a RST in the name of a connection that has no socket.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;
use proxyip_common::flow::FlowKey;
use socket2::{Domain, Protocol, Socket, Type};

/// Raw packets, IP header and all; nothing is received (`raw(7)`).
const IPPROTO_RAW: i32 = 255;
/// Time to live, hop limit.
const HOPS: u8 = 64;

/// Sends them, in the namespace of the thread that it was made on.
#[derive(Default)]
pub(crate) struct Resets {
    /// By local address.
    sockets: HashMap<IpAddr, Socket>,
}

impl Resets {
    /// Tells the peer that the connection is no more. `expected` is the sequence number that it expects, without which
    /// it would not believe it (RFC 5961 §3.2).
    ///
    /// # Errors
    /// If the packet cannot be sent.
    pub(crate) fn send(&mut self, key: &FlowKey, expected: u32) -> io::Result<()> {
        let (peer, local) = (key.peer.0.to_socket_addr(), key.local.0.to_socket_addr());
        let packet = packet(local, peer, expected)?;
        let socket = match self.sockets.entry(local.ip()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(socket(local.ip())?),
        };
        // A port would be taken for a protocol.
        let to = SocketAddr::new(peer.ip(), 0);
        socket.send_to(&packet, &to.into()).map(|_| ())
    }
}

/// A socket. Its packets take the same route as packets from this address.
fn socket(local: IpAddr) -> io::Result<Socket> {
    let domain = if local.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))?;
    socket.bind(&SocketAddr::new(local, 0).into())?;
    Ok(socket)
}

fn packet(local: SocketAddr, peer: SocketAddr, expected: u32) -> io::Result<Vec<u8>> {
    let ip = match (local.ip(), peer.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), HOPS),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), HOPS),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let mut packet = Vec::new();
    ip.tcp(local.port(), peer.port(), expected, 0)
        .rst()
        .write(&mut packet, &[])
        .map_err(io::Error::other)?;
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use etherparse::{SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn a_reset_is_addressed_to_the_peer() {
        for (local, peer) in
            [("10.0.1.2:443", "10.0.0.2:41000"), ("[fd00::1]:443", "[fd00::2]:41000")]
        {
            let (local, peer) = (local.parse().unwrap(), peer.parse().unwrap());
            let packet = packet(local, peer, 0x1234_5678).unwrap();
            let sliced = SlicedPacket::from_ip(&packet).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
            assert_eq!((tcp.source_port(), tcp.destination_port()), (443, 41000));
            assert_eq!((tcp.sequence_number(), tcp.rst(), tcp.ack()), (0x1234_5678, true, false));
        }
    }
}
