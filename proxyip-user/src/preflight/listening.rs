//! The TCP sockets that listen in a network namespace (`sock_diag(7)`).

use std::collections::BTreeMap;
use std::io;

use netlink_packet_core::Nla as _;
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetResponse, StateFlags};

use crate::host::sockets::{self, Family};

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
    let socket = sockets::open()?;
    for family in Family::ALL {
        // The kernel reports a socket's ULP (the protocol above TCP) only together with `INFO`.
        let request = sockets::every(family, StateFlags::LISTEN, ExtensionFlags::INFO);
        sockets::dump(&socket, request, |found| {
            ports.entry(found.header.socket_id.source_port).or_default().add(kind(found));
        })?;
    }
    Ok(ports)
}

fn kind(found: &InetResponse) -> Listening {
    let address = found.header.socket_id.source_address.to_canonical();
    Listening {
        multipath: found.nlas.iter().any(is_multipath),
        beyond_loopback: !address.is_loopback(),
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
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};

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
