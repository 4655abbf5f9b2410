//! Whole Ethernet frames, for what a raw IP socket cannot send.

use std::io;

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use super::{HEADER, RawPeer};
use crate::namespace::Namespace;
use crate::option::set_option;
use crate::packet::{Checksum, ETHERNET};
use crate::site::Site;

/// Length of an IPv4 header, bytes.
const IPV4: usize = 20;
/// `PACKET_VNET_HDR` of `linux/if_packet.h`.
const PACKET_VNET_HDR: libc::c_int = 15;

/// What is peculiar about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Up to 64 KB that stand for segments of this many bytes each. A virtual machine's network card hands them to
    /// its host like this: with the checksum of the pseudo-header only. Whoever needs single segments cuts them.
    Super(u16),
    /// Bytes behind the IP packet: a network card fills up short frames, not always with zeros.
    Padded,
    /// Addressed to another machine: a switch that does not know the way sends it everywhere.
    ForAnotherMachine,
}

impl RawPeer {
    /// Sends a segment in a frame with a peculiarity; otherwise like [`RawPeer::send`].
    ///
    /// # Panics
    /// When packet sockets are not permitted.
    pub fn send_frame(&mut self, site: &Site, frame: Frame, flags: u8, payload: &[u8]) {
        let mut packet = self.packet(flags, &[], payload);
        packet.ethernet = ethernet(site);
        match frame {
            Frame::Super(_) => packet.checksum = Checksum::Partial,
            Frame::Padded => packet.padding = vec![0xaa; 6],
            Frame::ForAnotherMachine => packet.ethernet[0][5] ^= 1,
        }
        let packet = [virtual_network_header(frame), packet.frame()].concat();
        let sent = site.net.balancer.enter(|| send_packet("eth1", &packet));
        sent.expect("cannot send a packet");
        self.advance(flags, payload.len());
    }
}

/// `struct virtio_net_hdr`, in this machine's byte order.
fn virtual_network_header(frame: Frame) -> Vec<u8> {
    const NEEDS_CHECKSUM: u8 = 1;
    const TCP_OVER_IPV4: u8 = 1;
    let Frame::Super(mss) = frame else { return vec![0; 10] };
    let number = |length: usize| u16::try_from(length).expect("a short header");
    let checksum_start = number(ETHERNET + IPV4);
    let numbers = [checksum_start + number(HEADER), mss, checksum_start, 16];
    let mut header = vec![NEEDS_CHECKSUM, TCP_OVER_IPV4];
    header.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
    header
}

/// The Ethernet addresses of a frame from the load balancer to the server: destination, source.
pub(super) fn ethernet(site: &Site) -> [[u8; 6]; 2] {
    [mac_address(&site.net.server, "eth0"), mac_address(&site.net.balancer, "eth1")]
}

pub(super) fn mac_address(namespace: &Namespace, interface: &str) -> [u8; 6] {
    let text = namespace.ip(&format!("-o link show {interface}"));
    let mut words = text.split_whitespace().skip_while(|word| *word != "link/ether");
    let address = words.nth(1).unwrap_or_else(|| panic!("no MAC address in {text}"));
    let bytes = address.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a byte"));
    bytes.collect::<Vec<_>>().try_into().expect("six bytes")
}

/// Sends a packet that starts with a virtual network header out of an interface of the calling
/// thread's namespace.
pub(super) fn send_packet(interface: &str, packet: &[u8]) -> io::Result<()> {
    let socket = packet_socket(interface)?;
    set_option(&socket, libc::SOL_PACKET, PACKET_VNET_HDR, 1)?;
    socket.send(packet)?;
    Ok(())
}

/// A socket that sends whole frames out of an interface of the calling thread's namespace, and receives none.
pub(super) fn packet_socket(interface: &str) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    let index = nix::net::if_::if_nametoindex(interface)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: a `sockaddr_ll` is plain data and fits into the storage.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET.cast_unsigned().try_into().expect("a small number");
    address.sll_ifindex = index.cast_signed();
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("it is small");
    // SAFETY: the storage holds a `sockaddr_ll` of that length.
    let address = unsafe { SockAddr::new(storage, length) };
    socket.bind(&address)?;
    Ok(socket)
}
