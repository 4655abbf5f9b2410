//! Forged segments by the thousand.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use socket2::Socket;

use super::frame::{ethernet, packet_socket};
use crate::packet::Packet;
use crate::site::Site;

/// Frames for which the kernel is entered once. Many more would overflow the server's queue.
pub const BURST: usize = 64;

/// A segment from anywhere.
#[derive(Clone, Debug)]
pub struct Forged {
    /// Where it claims to come from.
    pub source: SocketAddrV4,
    /// An address and port of the server.
    pub target: SocketAddrV4,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// `RawPeer::SYN` and its siblings.
    pub flags: u8,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Forged {
    fn packet(&self, ethernet: [[u8; 6]; 2]) -> Packet {
        Packet {
            ethernet,
            sequence: self.sequence,
            acknowledgment: self.acknowledgment,
            window: u16::MAX,
            payload: self.payload.clone(),
            ..Packet::new(self.source.into(), self.target.into(), self.flags)
        }
    }
}

/// Sends forged segments from the load balancer's link to the server, past the load balancer's own IP and TCP.
#[derive(Debug)]
pub struct Flooder {
    socket: Socket,
    ethernet: [[u8; 6]; 2],
}

impl Flooder {
    /// On this site.
    ///
    /// # Panics
    /// When packet sockets are not permitted.
    #[must_use]
    pub fn new(site: &Site) -> Self {
        let socket = site.net.balancer.enter(|| packet_socket("eth1")).expect("a packet socket");
        Self { socket, ethernet: ethernet(site) }
    }

    /// Sends them as fast as the link takes them.
    ///
    /// # Panics
    /// When they cannot be sent.
    pub fn send(&self, segments: impl IntoIterator<Item = Forged>) {
        let mut frames = Vec::new();
        for segment in segments {
            frames.push(self.frame(&segment));
            if frames.len() == BURST {
                self.send_frames(&frames);
                frames.clear();
            }
        }
        self.send_frames(&frames);
    }

    /// The frame of a segment.
    #[must_use]
    pub fn frame(&self, segment: &Forged) -> Vec<u8> {
        segment.packet(self.ethernet).frame()
    }

    /// The Ethernet addresses of frames: destination, source.
    #[must_use]
    pub fn ethernet(&self) -> [[u8; 6]; 2] {
        self.ethernet
    }

    /// Sends frames as they are; many more than a burst would overflow the server's queue.
    ///
    /// # Panics
    /// When they cannot be sent.
    pub fn send_frames(&self, frames: &[Vec<u8>]) {
        let mut sent = 0;
        while sent < frames.len() {
            match send_some(&self.socket, &frames[sent..]) {
                Ok(count) => sent += count,
                // The link's queue is full.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("cannot send frames: {error}"),
            }
        }
    }
}

/// Sends at least the first of these frames; returns how many.
fn send_some(socket: &Socket, frames: &[Vec<u8>]) -> io::Result<usize> {
    let vector = |frame: &Vec<u8>| libc::iovec {
        iov_base: frame.as_ptr().cast_mut().cast(),
        iov_len: frame.len(),
    };
    let mut vectors: Vec<_> = frames.iter().map(vector).collect();
    let message = |vector: &mut libc::iovec| {
        // SAFETY: a `mmsghdr` is plain data, for which zero is a value.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = vector;
        message.msg_hdr.msg_iovlen = 1;
        message
    };
    let mut messages: Vec<_> = vectors.iter_mut().map(message).collect();
    let count = messages.len().try_into().expect("a short burst");
    // SAFETY: there are `count` messages, each with one vector of a frame. All of them outlive the call. It only
    // reads them, and writes the messages' lengths.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
