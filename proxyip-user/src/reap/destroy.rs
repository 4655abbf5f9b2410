//! Ends a TCP connection of this host, so that both ends learn of it (`SOCK_DESTROY` of `sock_diag(7)`).

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

/// Ends the connection, which must be in the calling thread's namespace.
///
/// # Errors
/// `NotFound` if there is none; `EOPNOTSUPP` if the kernel was built without `CONFIG_INET_DIAG_DESTROY`.
pub(crate) fn destroy(key: &FlowKey) -> io::Result<()> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.connect(&NetlinkAddress::new(0, 0))?;
    // For a connection that has ended the kernel finds the listening socket, and would end that.
    let request = request(key, find(&socket, key)?);
    let request = SockDiagDestroy::new(SockDiagMessage::InetRequest(request));
    ask(&socket, request.into(), NLM_F_REQUEST | NLM_F_ACK).map(|_| ())
}

/// The cookie of the connection's socket.
fn find(socket: &Socket, key: &FlowKey) -> io::Result<Cookie> {
    let request = SockDiagMessage::InetRequest(request(key, ANY));
    match ask(socket, request.into(), NLM_F_REQUEST)? {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found))
            if !matches!(found.header.state, TCP_LISTEN | TCP_TIME_WAIT) =>
        {
            Ok(found.header.socket_id.cookie)
        }
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn ask<T: NetlinkSerializable>(
    socket: &Socket,
    request: NetlinkPayload<T>,
    flags: u16,
) -> io::Result<NetlinkPayload<SockDiagMessage>> {
    let mut request = NetlinkMessage::new(NetlinkHeader::default(), request);
    request.header.flags = flags;
    request.finalize();
    let mut buffer = vec![0; request.buffer_len()];
    request.serialize(&mut buffer);
    socket.send(&buffer, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&answer);
    match answer.map_err(io::Error::other)?.payload {
        // An error without a code says that all is well.
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        payload => Ok(payload),
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
        let socket = Socket::new(NETLINK_SOCK_DIAG).unwrap();
        socket.connect(&NetlinkAddress::new(0, 0)).unwrap();
        assert_ne!(find(&socket, &key(peer, local)).unwrap(), ANY);
        let nobody = SocketAddr::new(peer.ip(), 1);
        let error = find(&socket, &key(nobody, local)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(destroy(&key(nobody, local)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
