//! Ends TCP connections of this host, so that both ends learn of it (`SOCK_DESTROY` of `sock_diag(7)`).

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_sock_diag::constants::{TCP_LISTEN, TCP_TIME_WAIT};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddress};
use proxyip_common::flow::FlowKey;

/// Identifies a socket as long as the host is up.
type Cookie = [u8; 8];

/// Stands for any socket of the 4-tuple (`INET_DIAG_NOCOOKIE`).
const ANY: Cookie = [0xff; 8];

/// Ends connections of one namespace.
pub(crate) struct Destroyer {
    socket: Socket,
    /// Of the last request.
    sequence: u32,
}

impl Destroyer {
    /// For the calling thread's namespace.
    ///
    /// # Errors
    /// If there is no netlink socket.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.connect(&NetlinkAddress::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Ends a connection.
    ///
    /// # Errors
    /// `NotFound` if there is none; `EOPNOTSUPP` if the kernel was built without `CONFIG_INET_DIAG_DESTROY`.
    pub(crate) fn destroy(&mut self, key: &FlowKey) -> io::Result<()> {
        // For a connection that has ended the kernel finds the listening socket, and would end that.
        let request = request(key, self.find(key)?);
        let request = SockDiagDestroy::new(SockDiagMessage::InetRequest(request));
        self.ask(request.into(), NLM_F_REQUEST | NLM_F_ACK).map(|_| ())
    }

    /// Whether a connection has a socket, which is not one that only waits for `TIME_WAIT` to end.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub(crate) fn is_there(&mut self, key: &FlowKey) -> io::Result<bool> {
        match self.find(key) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The cookie of the connection's socket.
    fn find(&mut self, key: &FlowKey) -> io::Result<Cookie> {
        let request = SockDiagMessage::InetRequest(request(key, ANY));
        match self.ask(request.into(), NLM_F_REQUEST)? {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found))
                if !matches!(found.header.state, TCP_LISTEN | TCP_TIME_WAIT) =>
            {
                Ok(found.header.socket_id.cookie)
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn ask<T: NetlinkSerializable>(
        &mut self,
        request: NetlinkPayload<T>,
        flags: u16,
    ) -> io::Result<NetlinkPayload<SockDiagMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::new(NetlinkHeader::default(), request);
        request.header.flags = flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut buffer = vec![0; request.buffer_len()];
        request.serialize(&mut buffer);
        self.socket.send(&buffer, 0)?;
        let answer = loop {
            let (answer, _) = self.socket.recv_from_full()?;
            let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&answer);
            let answer = answer.map_err(io::Error::other)?;
            // An answer to a request that failed halfway may come late.
            if answer.header.sequence_number == self.sequence {
                break answer;
            }
        };
        match answer.payload {
            // An error without a code says that all is well.
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            payload => Ok(payload),
        }
    }
}

fn request(key: &FlowKey, cookie: Cookie) -> InetRequest {
    let (local, peer) = (key.local.0.to_socket_addr(), key.peer.0.to_socket_addr());
    // The kernel finds dual-stack sockets by their IPv4 addresses, too.
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    InetRequest {
        family: u8::try_from(family).expect("a small number"),
        protocol: u8::try_from(libc::IPPROTO_TCP).expect("a small number"),
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: local.port(),
            destination_port: peer.port(),
            source_address: local.ip(),
            destination_address: peer.ip(),
            interface_id: 0,
            cookie,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

    use super::*;

    fn key(peer: SocketAddr, local: SocketAddr) -> FlowKey {
        FlowKey::new(0, peer.into(), local.into())
    }

    #[test]
    fn requests_name_the_socket_of_this_host() {
        for (peer, local, family) in [
            ("10.0.0.2:41000", "10.0.1.2:443", libc::AF_INET),
            ("[fd00::2]:41000", "[fd00::1]:443", libc::AF_INET6),
        ] {
            let request = request(&key(peer.parse().unwrap(), local.parse().unwrap()), ANY);
            let id = &request.socket_id;
            assert_eq!(libc::c_int::from(request.family), family);
            assert_eq!(SocketAddr::new(id.source_address, id.source_port).to_string(), local);
            let destination = SocketAddr::new(id.destination_address, id.destination_port);
            assert_eq!(destination.to_string(), peer);
        }
    }

    #[test]
    fn a_connection_is_found_and_its_listener_is_not() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, local) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let mut destroyer = Destroyer::open().unwrap();
        assert_ne!(destroyer.find(&key(peer, local)).unwrap(), ANY);
        assert!(destroyer.is_there(&key(peer, local)).unwrap());
        let nobody = key(SocketAddr::new(peer.ip(), 1), local);
        for _ in 0..2 {
            let error = destroyer.destroy(&nobody).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            assert!(!destroyer.is_there(&nobody).unwrap());
        }
        // The same socket goes on after refusals.
        assert!(destroyer.is_there(&key(local, peer)).unwrap());
    }
}
