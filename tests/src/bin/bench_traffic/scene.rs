//! One veth pair between a load generator and a server, with the offloads that a veth has.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

use proxyip_tests::{Dial, Guard, Offloads, Plan, Site, address};

use crate::clients::{Clients, Greeting, Visitors};
use crate::generator::{Load, Outcome, Use};

/// As a new veth pair has them.
const OFFLOADS: Offloads = Offloads { checksums: true, segmentation: true, merging: false };

/// A site whose server can take many connections at a time.
pub(crate) fn site() -> Site {
    let site = Site::without_captures_with(&Plan { offloads: OFFLOADS, ..Plan::default() });
    for (key, value) in [
        ("core.somaxconn", "4096"),
        ("ipv4.tcp_max_syn_backlog", "4096"),
        ("ipv4.ip_local_port_range", "10000 65535"),
    ] {
        site.net.server.sysctl(key, value);
    }
    site
}

/// A configuration that trusts the load generator alone. There is no flow log.
pub(crate) fn guard(port: u16) -> Guard {
    Guard::ports(&[port]).trusting(&format!("{}/32", address::BALANCER)).without_flow_log()
}

/// A port of the server.
pub(crate) fn target(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address::SERVER.parse().expect("an address"), port)
}

/// Connects to a port of the server for some time, after one connection whose answer must name its client.
///
/// # Panics
/// When it does not: then the server is not what is to be measured.
pub(crate) fn load(
    site: &Site,
    (port, each): (u16, Use),
    clients: Option<Clients>,
    duration: Duration,
) -> Outcome {
    ask(site, port, clients);
    let load = Load { target: target(port), each, visitors: visitors(clients), duration };
    site.net.balancer.enter(|| load.run())
}

fn visitors(clients: Option<Clients>) -> Visitors {
    let own = || Visitors::Generator(address::BALANCER.parse().expect("an address"));
    clients.map_or_else(own, Visitors::Named)
}

/// A connection that begins with a header, if there are clients, and the client that the server must see.
pub(crate) fn greet(site: &Site, port: u16, clients: Option<Clients>) -> (TcpStream, Ipv4Addr) {
    let dial = Dial::to(address::SERVER, port).from(address::BALANCER, 0);
    let mut stream = dial.open(&site.net.balancer);
    let mut greeting = Greeting::new(visitors(clients), target(port));
    let (header, client) = greeting.next();
    stream.write_all(header).expect("a connection");
    (stream, client)
}

/// # Panics
/// When the server does not see the right client.
fn ask(site: &Site, port: u16, clients: Option<Clients>) {
    let (mut stream, expected) = greet(site, port, clients);
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let client = answer.lines().last().and_then(|line| line.parse().ok());
    assert_eq!(client, Some(expected), "the client that port {port} sees: {answer:?}");
}
