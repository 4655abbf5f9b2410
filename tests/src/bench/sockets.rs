//! Sockets that the kernel has of a flow, made by segments that come by the wire and that no program sees.

use std::net::TcpStream;
use std::time::Duration;

use proxyip_common::flow::{FlowRecord, TranslatedSocket};
use proxyip_user::bpf::pod::Raw;

use crate::until;
use etherparse::{PacketHeaders, TransportHeader};

use crate::bench::{Bench, COOKIE};
use crate::packet::{ACK, FIN, Packet};

/// Sockets that the kernel is to have of a flow before its frame comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Only the listening sockets.
    Listening,
    /// A request socket: the flow's SYN has come.
    Request,
    /// A connection.
    Connected,
    /// A connection in `TIME_WAIT`.
    TimeWait,
}

/// How long the kernel may take.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A segment that left the host.
pub struct Heard {
    /// TCP flags.
    pub flags: u8,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
}

impl Bench {
    /// Makes the kernel have this kind of socket for the flow that the SYN begins.
    pub fn prepare(&mut self, kernel: Kernel, syn: &Packet) {
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

    /// Gives the socket of a prepared connection this record.
    pub fn set_record(&mut self, syn: &Packet, record: &FlowRecord) {
        let stream = stream(&self.streams, syn);
        self.sockets.insert(stream, Raw(*record), 0).expect("room for a record");
    }

    /// Notes at the socket of a prepared connection that its segments are shifted by so much.
    pub fn set_ahead(&mut self, syn: &Packet, ahead: u32) {
        let translated = TranslatedSocket { namespace: COOKIE, ahead, reserved: 0 };
        let stream = stream(&self.streams, syn);
        self.translated.insert(stream, Raw(translated), 0).expect("room for a number");
    }

    /// The connection that this SYN began.
    pub fn accept(&self, syn: &Packet) -> TcpStream {
        self.accept_within(PATIENCE, syn).expect("a connection")
    }

    /// The connection that this SYN began, if it comes soon.
    pub fn accept_within(&self, patience: Duration, syn: &Packet) -> Option<TcpStream> {
        let listener = self.listener(syn.to.port());
        loop {
            let (stream, peer) = until(patience, || listener.accept().ok())?;
            if peer.port() == syn.from.port() {
                return Some(stream);
            }
        }
    }

    /// The next segment for the sender of `packet`, of the same flow.
    pub fn hear(&self, packet: &Packet) -> Option<Heard> {
        self.hear_within(PATIENCE, packet)
    }

    /// The next segment of this flow, if it comes soon.
    pub fn hear_within(&self, patience: Duration, packet: &Packet) -> Option<Heard> {
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

/// The prepared connection that this SYN began.
fn stream<'a>(streams: &'a [TcpStream], syn: &Packet) -> &'a TcpStream {
    let of_peer =
        |stream: &&TcpStream| stream.peer_addr().is_ok_and(|peer| peer.port() == syn.from.port());
    streams.iter().find(of_peer).expect("a connection")
}
