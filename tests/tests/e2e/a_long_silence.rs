//! Browsers and load balancers open connections that they use much later.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, RawPeer, Site, turn};

use crate::common::{
    CLIENT, CLIENT6, ask_names, assert_both, header_of_client, header_of_client6, on_ipv6_socket,
    socket_address, trusted_dial, trusted_dial6,
};

const PROBE_INTERVAL: Duration = Duration::from_secs(10);

#[test]
fn connections_silent_for_150_seconds_then_used() {
    silent_then_used(HandOff::Auto, 150);
}

/// The kernel waits 63 seconds for the end of a handshake that it does itself.
#[test]
fn translated_connections_silent_for_50_seconds_then_used() {
    silent_then_used(HandOff::Translate, 50);
}

fn silent_then_used(hand_off: HandOff, seconds: u32) {
    let _asleep = turn::asleep();
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));

    // The load balancer's kernel gives up after three unanswered probes.
    let balancer = &site.net.balancer;
    let probed = trusted_dial(80).keep_alive(PROBE_INTERVAL).open(balancer);
    let probed6 = trusted_dial6(80).keep_alive(PROBE_INTERVAL).open(balancer);
    let quiet = trusted_dial(80).open(balancer);
    thread::sleep(Duration::from_secs(seconds.into()));
    assert_eq!(agent.counter("handed_over"), 0);

    let mapped = on_ipv6_socket(CLIENT);
    use_connection(&probed, &header_of_client(), mapped);
    use_connection(&probed6, &header_of_client6(), socket_address(CLIENT6));
    use_connection(&quiet, &header_of_client(), mapped);

    site.stop_captures();
    for stream in [&probed, &probed6] {
        let port = stream.local_addr().expect("a bound socket").port();
        let segments = site.balancer_capture().segments();
        let sent = segments.iter().filter(|segment| segment.source.port() == port);
        let initial = sent.clone().find(|segment| segment.syn()).expect("a SYN").sequence;
        // A probe repeats the last number that was sent: nothing comes after the SYN before the header.
        let sent = sent.filter(|probe| !probe.syn() && probe.sequence == initial).count();
        // The answers: segments with the ACK flag and nothing else before the header came.
        let end = Duration::from_secs((seconds - 1).into());
        let answers = segments.iter().filter(|segment| segment.destination.port() == port);
        let answers =
            answers.filter(|answer| answer.flags == RawPeer::ACK && answer.time < end).count();
        eprintln!("port {port}: {sent} probes, {answers} answers");
        let due = usize::try_from(seconds / 10 - 2).expect("a small number");
        assert!(sent >= due, "{sent} keep-alive probes");
        assert!(answers >= due, "{answers} answers");
    }
    site.finish(&mut agent, &[]);
}

fn use_connection(mut stream: &TcpStream, header: &[u8], client: std::net::SocketAddr) {
    stream.write_all(header).expect("the connection is alive");
    assert_both(ask_names(stream), client);
}
