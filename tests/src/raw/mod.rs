//! A TCP peer made by hand, for segments that the kernel's own TCP would never send.

mod claimed;
mod flooder;
mod frame;

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

pub use claimed::claimed_syn_is_answered_to_the_owner;
pub use flooder::{BURST, Flooder, Forged};
pub use frame::Frame;

use crate::net::address;
use crate::packet::{self, Packet};
use crate::site::Site;

/// Length of a TCP header without options, bytes.
const HEADER: usize = 20;

/// A segment received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// `RawPeer::SYN` and its siblings.
    pub flags: u8,
    /// The window that is offered, scaled down if a scale was agreed on.
    pub window: u16,
    /// Options, padding included.
    pub options: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

/// An address of the load balancer's with one port, spoken for by the test instead of the kernel.
#[derive(Debug)]
pub struct RawPeer {
    socket: Socket,
    source: (Ipv4Addr, u16),
    target: (Ipv4Addr, u16),
    /// Sequence number of the next byte to send.
    pub sequence: u32,
    /// Acknowledgment number of the next segment that has the ACK flag.
    pub acknowledgment: u32,
    /// The window that is offered, without a scale.
    pub window: u16,
}

impl RawPeer {
    /// The FIN flag.
    pub const FIN: u8 = packet::FIN;
    /// The SYN flag.
    pub const SYN: u8 = packet::SYN;
    /// The RST flag.
    pub const RST: u8 = packet::RST;
    /// The PSH flag.
    pub const PSH: u8 = packet::PSH;
    /// The ACK flag.
    pub const ACK: u8 = packet::ACK;

    /// The sequence number that it begins with, unless the test sets another.
    pub const INITIAL: u32 = 0x1234_5678;

    /// From this port of the load balancer's trusted address to this port of the server.
    ///
    /// # Panics
    /// When raw sockets are not permitted.
    #[must_use]
    pub fn new(site: &Site, source_port: u16, target_port: u16) -> Self {
        Self::at(site, address::BALANCER, source_port, target_port)
    }

    /// The same from another address of the load balancer's.
    ///
    /// # Panics
    /// When raw sockets are not permitted.
    #[must_use]
    pub fn at(site: &Site, source: &str, source_port: u16, target_port: u16) -> Self {
        let balancer = &site.net.balancer;
        // The kernel knows nothing of this connection and would reset it; its segments have no mark.
        balancer.run(&format!(
            "iptables -A OUTPUT -p tcp --sport {source_port} --tcp-flags RST RST -m mark --mark 0 -j DROP"
        ));
        let address = |text: &str| text.parse::<Ipv4Addr>().expect("an IPv4 address");
        let source = (address(source), source_port);
        let target = (address(address::SERVER), target_port);
        let socket = balancer.enter(|| {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
            socket.bind(&SockAddr::from(SocketAddrV4::new(source.0, 0)))?;
            socket.set_mark(1)?;
            Ok::<_, io::Error>(socket)
        });
        let socket = socket.unwrap_or_else(|error| panic!("raw socket: {error}"));
        let (sequence, acknowledgment, window) = (Self::INITIAL, 0, u16::MAX);
        Self { socket, source, target, sequence, acknowledgment, window }
    }

    /// Its own address and port, and those of the server.
    #[must_use]
    pub fn ends(&self) -> (SocketAddrV4, SocketAddrV4) {
        let end = |(address, port)| SocketAddrV4::new(address, port);
        (end(self.source), end(self.target))
    }

    /// Sends a segment at [`RawPeer::sequence`], which then moves past what was sent.
    ///
    /// # Panics
    /// When the segment cannot be sent.
    pub fn send(&mut self, flags: u8, options: &[u8], payload: &[u8]) {
        self.put(&self.packet(flags, options, payload).segment());
        self.advance(flags, payload.len());
    }

    fn put(&self, segment: &[u8]) {
        let target = SockAddr::from(SocketAddrV4::new(self.target.0, 0));
        self.socket.send_to(segment, &target).expect("cannot send a raw segment");
    }

    /// Moves on behind what was sent; SYN and FIN count as a byte.
    fn advance(&mut self, flags: u8, payload: usize) {
        let length = payload + usize::from(flags & (Self::SYN | Self::FIN) != 0);
        let length = u32::try_from(length).expect("a segment is short");
        self.sequence = self.sequence.wrapping_add(length);
    }

    /// A segment of this connection.
    fn packet(&self, flags: u8, options: &[u8], payload: &[u8]) -> Packet {
        assert!(options.len().is_multiple_of(4), "options are padded to words of 32 bits");
        let (source, target) = self.ends();
        Packet {
            sequence: self.sequence,
            acknowledgment: if flags & Self::ACK == 0 { 0 } else { self.acknowledgment },
            window: self.window,
            options: options.to_vec(),
            payload: payload.to_vec(),
            ..Packet::new(source.into(), target.into(), flags)
        }
    }

    /// The next segment of this connection, if one comes within `limit`.
    ///
    /// # Panics
    /// When the socket fails.
    #[must_use]
    pub fn receive(&self, limit: Duration) -> Option<Segment> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            let left = left.max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).expect("SO_RCVTIMEO");
            let mut buffer = vec![MaybeUninit::<u8>::uninit(); 65_536];
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // A child of the test has ended.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => panic!("raw socket: {error}"),
            };
            // SAFETY: the kernel has written the first `length` bytes.
            let packet: Vec<u8> =
                buffer[..length].iter().map(|byte| unsafe { byte.assume_init() }).collect();
            if let Some(segment) = self.parse(&packet) {
                return Some(segment);
            }
        }
    }

    /// Opens the connection: sends a SYN with these options and returns the SYN-ACK, not yet
    /// acknowledged.
    ///
    /// # Panics
    /// When no SYN-ACK comes.
    pub fn open(&mut self, options: &[u8]) -> Segment {
        self.send(Self::SYN, options, &[]);
        let answer = self.receive(Duration::from_secs(5)).expect("an answer to the SYN");
        assert_eq!(answer.flags & 0x3f, Self::SYN | Self::ACK, "{answer:?}");
        assert_eq!(answer.acknowledgment, self.sequence, "{answer:?}");
        self.acknowledgment = answer.sequence.wrapping_add(1);
        answer
    }

    /// The next segment with payload; the payload counts as received.
    ///
    /// # Panics
    /// When none comes, or a RST.
    pub fn receive_payload(&mut self) -> Vec<u8> {
        loop {
            let segment = self.receive(Duration::from_secs(5)).expect("payload");
            assert_eq!(segment.flags & Self::RST, 0, "reset instead of payload: {segment:?}");
            if !segment.payload.is_empty() && segment.sequence == self.acknowledgment {
                let length = u32::try_from(segment.payload.len()).expect("a segment is short");
                self.acknowledgment = self.acknowledgment.wrapping_add(length);
                return segment.payload;
            }
        }
    }

    /// A received IP packet, if it belongs to this connection.
    fn parse(&self, packet: &[u8]) -> Option<Segment> {
        let segment = packet.get(usize::from(packet.first()? & 0x0f) * 4..)?;
        let number = |offset: usize| {
            Some(u32::from_be_bytes(segment.get(offset..offset + 4)?.try_into().ok()?))
        };
        let ports = (u32::from(self.target.1) << 16) | u32::from(self.source.1);
        if number(0)? != ports {
            return None;
        }
        let data = usize::from(segment.get(12)? >> 4) * 4;
        Some(Segment {
            sequence: number(4)?,
            acknowledgment: number(8)?,
            flags: *segment.get(13)?,
            window: u16::from_be_bytes(segment.get(14..16)?.try_into().ok()?),
            options: segment.get(HEADER..data)?.to_vec(),
            payload: segment.get(data..)?.to_vec(),
        })
    }
}
