//! The classes.

mod accept;
mod front;
mod observe;
mod translate;
mod unrelated;

use etherparse::PacketBuilder;
use proxyip_tests::bench::{Family, TIMESTAMPS};
use proxyip_tests::packet::{ACK, ETHERNET, HOST, PSH, Packet, SENDER};

use crate::class::{Case, Class, Runs};

/// As many bytes as the payload of most full segments has.
const FULL: usize = 1448;

/// All classes that this kernel has, the yardstick's unit first.
pub(crate) fn all() -> Vec<Class> {
    let unit = Packet::new(Family::V4.peer(), Family::V4.host(9), ACK);
    let mut classes = vec![Class::new("reference", Runs::Reference, Case::passes(unit.frame()))];
    classes.extend(unrelated::classes());
    classes.extend(accept::classes());
    classes.extend(translate::classes());
    classes.extend(observe::classes());
    classes.extend(front::classes());
    classes
}

/// What it is, and over which version of IP.
fn named(what: &str, family: Family) -> String {
    format!("{what}, {}", family.name())
}

/// A full segment of a connection.
fn data(packet: &Packet) -> Packet {
    packet.with(|data| {
        data.flags = ACK | PSH;
        data.options = TIMESTAMPS.to_vec();
        data.payload = vec![b'x'; FULL];
    })
}

/// A segment that only acknowledges.
fn acknowledgment(packet: &Packet) -> Packet {
    packet.with(|ack| (ack.flags, ack.options) = (ACK, TIMESTAMPS.to_vec()))
}

/// What the host sends to the sender of `packet`.
fn reply(packet: &Packet) -> Packet {
    let mut reply = Packet::new(packet.to, packet.from, ACK);
    (reply.sequence, reply.acknowledgment) = (0x7000_0000, 0x1234_9999);
    reply.ethernet = [SENDER, HOST];
    reply
}

/// A datagram between the ends of `packet`, with a payload like that of QUIC.
fn datagram(packet: &Packet) -> Vec<u8> {
    let (from, to) = (packet.from, packet.to);
    let [destination, source] = packet.ethernet;
    let builder = PacketBuilder::ethernet2(source, destination);
    let builder = match (from.ip(), to.ip()) {
        (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) => {
            builder.ipv4(from.octets(), to.octets(), 64)
        }
        (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) => {
            builder.ipv6(from.octets(), to.octets(), 64)
        }
        ends => panic!("two families: {ends:?}"),
    };
    let mut frame = Vec::new();
    let payload = [b'x'; 1200];
    builder.udp(from.port(), to.port()).write(&mut frame, &payload).expect("a frame");
    frame
}

/// The same frame of a protocol that has no ports.
fn of_another_protocol(packet: &Packet) -> Vec<u8> {
    /// GRE (RFC 2784).
    const PROTOCOL: u8 = 47;
    let mut frame = packet.frame();
    let at = if packet.is_ipv4() { 9 } else { 6 };
    frame[ETHERNET + at] = PROTOCOL;
    frame
}
