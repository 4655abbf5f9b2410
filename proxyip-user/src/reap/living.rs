//! Which connections still have a socket (`sock_diag(7)`).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use netlink_packet_sock_diag::constants::TCP_TIME_WAIT;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetResponseHeader, StateFlags};
use netlink_sys::Socket;
use proxyip_common::address::{Local, Peer};
use proxyip_common::flow::FlowKey;

use super::destroy::Destroyer;
use crate::host::sockets::{self, Family};

/// What a connection without a living socket has left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// An entry that waits for late segments, and answers them.
    TimeWait,
    /// Nothing.
    Nothing,
}

/// Looks for sockets in the namespace of the thread that opened it.
pub(crate) struct Sockets {
    exact: Destroyer,
    all: Socket,
}

impl Sockets {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { exact: Destroyer::open()?, all: sockets::open()? })
    }

    /// The connections among `keys` that have no living socket.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub(crate) fn missing(&mut self, keys: &[FlowKey]) -> io::Result<HashMap<FlowKey, Left>> {
        let mut missing = HashMap::new();
        for key in keys {
            if !self.exact.is_there(key)? {
                missing.insert((key.peer, key.local), (*key, Left::Nothing));
            }
        }
        // A lookup does not find sockets that are bound to a device, as in a VRF. A walk does.
        for family in Family::ALL {
            if !missing.is_empty() {
                self.walk(family, |ends, left| match (left, missing.get_mut(&ends)) {
                    (Some(left), Some(there)) => there.1 = left,
                    (None, Some(_)) => drop(missing.remove(&ends)),
                    (_, None) => {}
                })?;
            }
        }
        Ok(missing.into_values().collect())
    }

    /// Calls `see` for each socket of a connection; with what it is, if it does not live.
    fn walk(
        &self,
        family: Family,
        mut see: impl FnMut((Peer, Local), Option<Left>),
    ) -> io::Result<()> {
        let connections = StateFlags::all() - StateFlags::LISTEN - StateFlags::CLOSE;
        let request = sockets::every(family, connections, ExtensionFlags::empty());
        sockets::dump(&self.all, request, |found| {
            see(ends(&found.header), left(found.header.state));
        })
    }
}

fn ends(header: &InetResponseHeader) -> (Peer, Local) {
    let id = &header.socket_id;
    let peer = SocketAddr::new(id.destination_address, id.destination_port);
    let local = SocketAddr::new(id.source_address, id.source_port);
    (peer.into(), local.into())
}

/// A socket without an application that waits for the peer's FIN looks like one that lives. It is one soon.
fn left(state: u8) -> Option<Left> {
    (state == TCP_TIME_WAIT).then_some(Left::TimeWait)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use super::*;

    fn key(stream: &TcpStream) -> FlowKey {
        let (peer, local) = (stream.peer_addr().unwrap(), stream.local_addr().unwrap());
        FlowKey::new(0, peer.into(), local.into())
    }

    #[test]
    fn connections_without_a_socket_are_missing() {
        let mut sockets = Sockets::open().unwrap();
        for host in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let listener = TcpListener::bind((host, 0)).unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let (client, server) = (key(&stream), key(&accepted));
            let nobody = SocketAddr::new(host, 1);
            let nobody = FlowKey::new(0, nobody.into(), nobody.into());
            let found = sockets.missing(&[client, nobody, server]).unwrap();
            assert_eq!(found, HashMap::from([(nobody, Left::Nothing)]));

            // The end that closes first waits.
            drop(stream);
            drop(accepted);
            let found = std::iter::repeat_with(|| sockets.missing(&[client, server]).unwrap());
            let found = found.take(1000).find(|found| found.len() == 2).expect("they end");
            assert_eq!(found, HashMap::from([(client, Left::TimeWait), (server, Left::Nothing)]));
        }
    }

    #[test]
    fn a_walk_finds_the_sockets_of_dual_stack_listeners() {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let wanted = key(&accepted);
        assert_eq!(wanted.local, Local::from(stream.peer_addr().unwrap()));
        let sockets = Sockets::open().unwrap();
        let mut seen = 0;
        sockets
            .walk(Family::V6, |ends, left| {
                seen += u32::from(ends == (wanted.peer, wanted.local) && left.is_none());
            })
            .unwrap();
        assert_eq!(seen, 1);
    }
}
