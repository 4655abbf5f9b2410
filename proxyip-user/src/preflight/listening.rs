//! The TCP sockets that listen in a network namespace (`sock_diag(7)`).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, Nla as _,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

/// `INET_DIAG_ULP_INFO` (`include/uapi/linux/inet_diag.h`).
const ULP_INFO: u16 = 19;
/// The name of what lies above a listening TCP socket of MPTCP's (`net/mptcp/subflow.c`).
const MPTCP: &[u8] = b"mptcp\0";

/// What listens on a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listening {
    /// One of the sockets at least is MPTCP's.
    pub(crate) multipath: bool,
    /// One of them at least has another address than a loopback one.
    pub(crate) beyond_loopback: bool,
}

impl Listening {
    /// Of another namespace too.
    pub(crate) fn add(&mut self, other: Self) {
        self.multipath |= other.multipath;
        self.beyond_loopback |= other.beyond_loopback;
    }
}

/// What listens in the calling thread's namespace, by port.
///
/// # Errors
/// If the kernel does not list its sockets (`CONFIG_INET_DIAG`).
pub(crate) fn listening() -> io::Result<BTreeMap<u16, Listening>> {
    let mut ports = BTreeMap::<u16, Listening>::new();
    let v4 = (libc::AF_INET, IpAddr::from(Ipv4Addr::UNSPECIFIED));
    let v6 = (libc::AF_INET6, IpAddr::from(Ipv6Addr::UNSPECIFIED));
    for (family, unspecified) in [v4, v6] {
        dump(request(family, unspecified), |port, found| {
            ports.entry(port).or_default().add(found);
        })?;
    }
    Ok(ports)
}

fn request(family: libc::c_int, unspecified: IpAddr) -> InetRequest {
    InetRequest {
        family: u8::try_from(family).expect("a small number"),
        protocol: u8::try_from(libc::IPPROTO_TCP).expect("a small number"),
        // The kernel reports a socket's ULP (the protocol above TCP) only together with `INFO`.
        extensions: ExtensionFlags::INFO,
        states: StateFlags::LISTEN,
        socket_id: SocketId {
            source_port: 0,
            destination_port: 0,
            source_address: unspecified,
            destination_address: unspecified,
            interface_id: 0,
            cookie: [0xff; 8],
        },
    }
}

/// Calls `found` with the port of each socket, and what is known of it.
fn dump(request: InetRequest, mut found: impl FnMut(u16, Listening)) -> io::Result<()> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let request = SockDiagMessage::InetRequest(request);
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), request.into());
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest);
            let message = message.map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(one)) => {
                    let own = one.header.socket_id;
                    let address = own.source_address.to_canonical();
                    let listening = Listening {
                        multipath: one.nlas.iter().any(is_multipath),
                        beyond_loopback: !address.is_loopback(),
                    };
                    found(own.source_port, listening);
                }
                _ => {}
            }
            let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn is_multipath(attribute: &Nla) -> bool {
    let Nla::Other(attribute) = attribute else { return false };
    let mut value = vec![0; attribute.value_len()];
    attribute.emit_value(&mut value);
    attribute.kind() == ULP_INFO && value.windows(MPTCP.len()).any(|part| part == MPTCP)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Protocol, SockAddr, Socket, Type};

    use super::*;

    #[test]
    fn ordinary_and_multipath_sockets_are_told_apart() {
        let plain = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]
            .map(|ip| TcpListener::bind((ip, 0)).unwrap());
        let multipath = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)).unwrap();
        let any = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        multipath.bind(&SockAddr::from(any)).unwrap();
        multipath.listen(1).unwrap();
        let multipath = multipath.local_addr().unwrap().as_socket().unwrap().port();
        let ports = listening().unwrap();
        for listener in plain {
            let port = listener.local_addr().unwrap().port();
            assert_eq!(ports.get(&port), Some(&Listening::default()));
        }
        let expected = Listening { multipath: true, beyond_loopback: false };
        assert_eq!(ports.get(&multipath), Some(&expected));
        let wildcard = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let port = wildcard.local_addr().unwrap().port();
        assert!(listening().unwrap()[&port].beyond_loopback);
        assert_eq!(ports.get(&0), None);
    }
}
