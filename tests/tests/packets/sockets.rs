//! Sockets that the kernel has of a flow, made by segments that come by the wire and that no program sees.

use std::net::TcpStream;
use std::time::Duration;

use etherparse::{PacketHeaders, TransportHeader};
use proxyip_tests::until;

use crate::bench::Bench;
use crate::case::Kernel;
use proxyip_tests::packet::{ACK, FIN, Packet};

/// How long the kernel may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// A segment that left the host.
pub(crate) struct Heard {
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
}

impl Bench {
    /// Makes the kernel have this kind of socket for the flow that the SYN begins.
    pub(crate) fn prepare(&mut self, kernel: Kernel, syn: &Packet) {
        if kernel == Kernel::Listening {
            return;
        }
        self.tap.write(&syn.frame());
        let answer = self.hear(syn).expect("an answer to the SYN");
        let mut next = syn.with(|packet| {
            packet.sequence = syn.sequence.wrapping_add(1);
            packet.acknowledgment = answer.sequence.wrapping_add(1);
            packet.flags = ACK;
            packet.options = Vec::new();
            packet.payload = Vec::new();
        });
        if kernel == Kernel::Request {
            return;
        }
        self.tap.write(&next.frame());
        let stream = self.accept(syn);
        if kernel == Kernel::Connected {
            self.streams.push(stream);
            return;
        }
        drop(stream);
        let end = self.hear(syn).expect("the server's FIN");
        assert_ne!(end.flags & FIN, 0);
        next.acknowledgment = end.sequence.wrapping_add(1);
        next.flags = ACK | FIN;
        self.tap.write(&next.frame());
        self.hear(syn).expect("the last ACK");
    }

    /// The connection that this SYN began.
    pub(crate) fn accept(&self, syn: &Packet) -> TcpStream {
        self.accept_within(PATIENCE, syn).expect("a connection")
    }

    /// The connection that this SYN began, if it comes soon.
    pub(crate) fn accept_within(&self, patience: Duration, syn: &Packet) -> Option<TcpStream> {
        let listener = self.listener(syn.to.port());
        loop {
            let (stream, peer) = until(patience, || listener.accept().ok())?;
            if peer.port() == syn.from.port() {
                return Some(stream);
            }
        }
    }

    /// The next segment for the sender of `packet`, of the same flow.
    pub(crate) fn hear(&self, packet: &Packet) -> Option<Heard> {
        self.hear_within(PATIENCE, packet)
    }

    /// The next segment of this flow, if it comes soon.
    pub(crate) fn hear_within(&self, patience: Duration, packet: &Packet) -> Option<Heard> {
        let mut buffer = [0; 8192];
        loop {
            let length = self.tap.read(&mut buffer, patience)?;
            let Ok(headers) = PacketHeaders::from_ethernet_slice(&buffer[..length]) else {
                continue;
            };
            let Some(TransportHeader::Tcp(tcp)) = headers.transport else { continue };
            if (tcp.source_port, tcp.destination_port) == (packet.to.port(), packet.from.port()) {
                return Some(Heard {
                    flags: tcp.to_bytes()[13],
                    sequence: tcp.sequence_number,
                    acknowledgment: tcp.acknowledgment_number,
                });
            }
        }
    }
}
