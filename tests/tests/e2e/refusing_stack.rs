//! The server's own stack drops what was handed over to it.

use std::io::Write;
use std::net::TcpStream;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, Site, address, eventually, read_line};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::common::{
    CLIENT, ask_names, assert_both, assert_echoed, expect_names, header_of_client, open_and_send,
    pattern, socket_address, trusted_dial,
};

/// All refusals are of the payload behind a header; how many depends on how often the load balancer's
/// kernel tries again.
fn finish(site: &Site, agent: &mut Agent) {
    let drops = agent.numbers("drops");
    assert_eq!(drops.keys().collect::<Vec<_>>(), ["payload_without_socket"]);
    let drops: Vec<_> = drops.iter().map(|(label, count)| (label.as_str(), *count)).collect();
    site.finish(agent, &drops);
}

/// A common rule set: nothing comes of the connection. The gap is counted, and the log says what the
/// likely cause is.
#[test]
fn a_firewall_that_wants_to_see_the_handshake_is_noticed() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    site.net.server.run("iptables -A INPUT -p tcp ! --syn -m conntrack --ctstate NEW -j DROP");
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let mut stream = trusted_dial(80).open(&site.net.balancer);
    stream.write_all(&header_of_client()).expect("cannot send");
    agent.wait_counter("handed_over", 1);
    let log = eventually("a line in the agent's log that names conntrack", || {
        let log = agent.process().stderr();
        log.lines().find(|line| line.contains("conntrack")).map(str::to_owned)
    });
    eprintln!("the agent's log: {log}");
    assert_eq!(agent.counter("established"), 0);
    assert_eq!(agent.json(&["flows"]), serde_json::json!([]));
    finish(&site, &mut agent);
}

/// A stateful firewall as many servers have it: new connections to the service, and what belongs to
/// known ones.
#[test]
fn an_ordinary_stateful_firewall_lets_connections_through() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    for rule in [
        "-m conntrack --ctstate INVALID -j DROP",
        "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "-p tcp --dport 80 -m conntrack --ctstate NEW -j ACCEPT",
        "-j DROP",
    ] {
        site.net.server.run(&format!("iptables -A INPUT {rule}"));
    }
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    for header in [header_of_client(), [header_of_client(), b"who am I?\n".to_vec()].concat()] {
        let stream = open_and_send(&site, &trusted_dial(80), &header);
        let alone = header.len() == header_of_client().len();
        let names = if alone { ask_names(&stream) } else { expect_names(&stream) };
        assert_both(names, socket_address(CLIENT));
        assert_echoed(&stream, &pattern(1_000_000));
    }
    site.finish(&mut agent, &[]);
}

/// The program does not call `accept()` for a while: the connections that find no room are established
/// when the load balancer's kernel sends their first segment again.
#[test]
fn connections_that_find_the_accept_queue_full_come_later() {
    const CONNECTIONS: usize = 4;
    let site = Site::new();
    let listener = site.net.server.enter(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SockAddr::from(socket_address("10.77.1.1:80")))?;
        // Room for one.
        socket.listen(0)?;
        Ok::<_, std::io::Error>(socket)
    });
    let listener = listener.expect("cannot listen");
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let first = [header_of_client(), b"who am I?\n".to_vec()].concat();
    let open = || open_and_send(&site, &trusted_dial(80), &first);
    let streams: [TcpStream; CONNECTIONS] = std::array::from_fn(|_| open());
    agent.wait_counter("handed_over", 6);
    assert_eq!(agent.counter("established"), 1);
    for _ in &streams {
        let (socket, peer) = listener.accept().expect("a connection");
        assert_eq!(peer.as_socket(), Some(socket_address(CLIENT)));
        assert_eq!(read_line(&TcpStream::from(socket)), "who am I?");
    }
    assert_eq!(agent.counter("established"), 4);
    finish(&site, &mut agent);
}
