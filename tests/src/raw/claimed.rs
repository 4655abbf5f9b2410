//! A SYN from another machine on the link, which says that it has an address of the load balancer's.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::frame::{mac_address, send_packet};
use crate::site::Site;

/// The other machine's Ethernet address.
const OTHER: [u8; 6] = [0x02, 0, 0, 0, 0x66, 0x66];

/// Sends a SYN in a frame of another machine's, and says whether an answer reaches the load balancer, whose address it
/// claims to have.
///
/// # Panics
/// When raw sockets are not permitted.
#[must_use]
pub fn claimed_syn_is_answered_to_the_owner(
    site: &Site,
    source: SocketAddr,
    target: SocketAddr,
) -> bool {
    let (balancer, v6) = (&site.net.balancer, source.is_ipv6());
    let owner = balancer.enter(|| {
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::TCP)).expect("a raw socket");
        let address = SockAddr::from(SocketAddr::new(source.ip(), 0));
        socket.bind(&address).expect("an address of the load balancer's");
        socket
    });
    let server = mac_address(&site.net.server, "eth0");
    let ethernet = PacketBuilder::ethernet2(OTHER, server);
    let packet = match (source, target) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            ethernet.ipv4(from.ip().octets(), to.ip().octets(), 64)
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            ethernet.ipv6(from.ip().octets(), to.ip().octets(), 64)
        }
        _ => panic!("two families"),
    };
    let mut frame = vec![0; 10];
    let syn = packet.tcp(source.port(), target.port(), 1000, 65_000).syn();
    syn.write(&mut frame, &[]).expect("a frame");
    balancer.enter(|| send_packet("eth1", &frame)).expect("cannot send a packet");
    is_answered(&owner, source.port(), v6)
}

/// Whether a segment for this port comes soon.
fn is_answered(owner: &Socket, port: u16, v6: bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut buffer = [std::mem::MaybeUninit::uninit(); 256];
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        let left = left.max(Duration::from_millis(1));
        owner.set_read_timeout(Some(left)).expect("SO_RCVTIMEO");
        let Ok(length) = owner.recv(&mut buffer) else { continue };
        // SAFETY: the kernel has written the first `length` bytes.
        let bytes = buffer[..length].iter().map(|byte| unsafe { byte.assume_init() });
        // IPv6 sockets receive no IP header.
        let skipped = if v6 { 0 } else { 20 };
        let bytes: Vec<u8> = bytes.skip(skipped + 2).take(2).collect();
        if bytes == port.to_be_bytes() {
            return true;
        }
    }
    false
}
