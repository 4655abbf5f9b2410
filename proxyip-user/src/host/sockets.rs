//! Lists the TCP sockets of a network namespace (`sock_diag(7)`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::netlink;

/// What sockets are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6; sockets of both families are among these.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    const fn number(self) -> libc::c_int {
        match self {
            Self::V4 => libc::AF_INET,
            Self::V6 => libc::AF_INET6,
        }
    }

    const fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// Asks for all TCP sockets of a family in some states.
#[must_use]
pub fn every(family: Family, states: StateFlags, extensions: ExtensionFlags) -> InetRequest {
    InetRequest {
        family: u8::try_from(family.number()).expect("a small number"),
        protocol: u8::try_from(libc::IPPROTO_TCP).expect("a small number"),
        extensions,
        states,
        socket_id: SocketId {
            source_port: 0,
            destination_port: 0,
            source_address: family.unspecified(),
            destination_address: family.unspecified(),
            interface_id: 0,
            cookie: [0xff; 8],
        },
    }
}

/// A socket that is asked about the namespace in which the calling thread is now.
///
/// # Errors
/// If there is no netlink socket.
pub fn open() -> io::Result<Socket> {
    netlink::open(NETLINK_SOCK_DIAG)
}

/// Calls `each` with each socket that the request asks for.
///
/// # Errors
/// If the kernel does not list its sockets (`CONFIG_INET_DIAG`).
pub fn dump(
    socket: &Socket,
    request: InetRequest,
    mut each: impl FnMut(&InetResponse),
) -> io::Result<()> {
    let request = SockDiagMessage::InetRequest(request);
    netlink::ask(socket, (request, NLM_F_REQUEST | NLM_F_DUMP), |answer| {
        if let SockDiagMessage::InetResponse(found) = answer {
            each(&found);
        }
    })
    .map(drop)
}
