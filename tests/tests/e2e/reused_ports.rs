//! The load balancer uses the same source port again and again, as busy ones do within a minute.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxyip_tests::balancers::HaProxy;
use proxyip_tests::servers::{EchoServer, RubyEcho};
use proxyip_tests::{
    Agent, Dial, Guard, HandOff, Site, address, eventually, header, read_line, turn,
};

use crate::common::{
    DESTINATION, ask_names, assert_both, auto_and_translate, socket_address, trusted_dial,
};

auto_and_translate!(
    the_server_closes_first,
    the_load_balancer_closes_first,
    a_thousand_connections_from_fifty_ports
);

const ROUNDS: u8 = 100;
/// A lost SYN alone would take a second, and lost payload 200 ms.
const ROUND: Duration = Duration::from_millis(900);

/// The client and the header of one round; headers of different lengths.
fn round(number: u8) -> (SocketAddr, Vec<u8>) {
    let client = SocketAddr::from(([198, 18, 0, number], 40_000 + u16::from(number)));
    let destination = socket_address(DESTINATION);
    let v1 = number.is_multiple_of(2);
    let header = if v1 { header::v1 } else { header::v2 };
    (client, header(client, destination))
}

/// Opens a connection and writes in one call. The port may belong for a moment to the last round's.
fn open(site: &Site, dial: &Dial, bytes: &[u8]) -> TcpStream {
    let mut stream =
        eventually("the source port is free", || dial.attempt(&site.net.balancer).ok());
    std::io::Write::write_all(&mut stream, bytes).expect("cannot send");
    stream
}

#[test]
fn an_mptcp_server_closes_first() {
    the_server_closes_first(HandOff::Multipath);
}

/// Each connection finds its predecessor in `TIME_WAIT`.
fn the_server_closes_first(hand_off: HandOff) {
    let _alone = turn::alone();
    let site = Site::under(hand_off);
    let _ruby = RubyEcho::start(&site, address::SERVER, 7);
    let mut agent = Agent::start(&site, &Guard::ports(&[7]).hand_off(hand_off));
    let dial = Dial::to(address::SERVER, 7).from(address::BALANCER, 5000);
    for number in 0..ROUNDS {
        let (client, header) = round(number);
        let start = Instant::now();
        let stream = open(&site, &dial, &[header, b"hello\n".to_vec()].concat());
        let expected = format!(r#"{} {} "hello\n""#, client.ip(), client.port());
        assert_eq!(read_line(&stream), expected, "round {number}");
        assert_eq!(proxyip_tests::read_rest(&stream), b"", "the server closes first");
        assert!(start.elapsed() < ROUND, "round {number}: {:?}", start.elapsed());
    }
    site.assert_swift();
    let configured = hand_off == HandOff::Translate;
    let reason = if configured { "configured" } else { "time_wait" };
    assert!(agent.translated_for(reason) >= u64::from(ROUNDS) - 1);
    agent.wait_counter("closed", ROUNDS.into());
    site.finish(&mut agent, &[]);
}

fn the_load_balancer_closes_first(hand_off: HandOff) {
    let _alone = turn::alone();
    let site = Site::new();
    // No TIME_WAIT at the load balancer: it connects from this port again at once.
    site.net.balancer.sysctl("ipv4.tcp_max_tw_buckets", "0");
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let dial = trusted_dial(80).from(address::BALANCER, 5000);
    for number in 0..ROUNDS {
        let (client, header) = round(number);
        let start = Instant::now();
        let stream = open(&site, &dial, &header);
        assert_both(ask_names(&stream), client);
        assert!(start.elapsed() < ROUND, "round {number}: {:?}", start.elapsed());
        drop(stream);
        agent.wait_counter("closed", u64::from(number) + 1);
    }
    site.assert_swift();
    site.finish(&mut agent, &[]);
}

/// `HAProxy` takes each of its ports anew as soon as the server has closed, for several clients at a time.
fn a_thousand_connections_from_fifty_ports(hand_off: HandOff) {
    const CONNECTIONS: usize = 1000;
    let _alone = turn::alone();
    let site = Site::without_captures();
    site.net.balancer.sysctl("ipv4.ip_local_port_range", "40000 40049");
    let _ruby = RubyEcho::start(&site, address::SERVER, 7);
    let _haproxy = HaProxy::start(&site, 7000, "10.77.1.1:7", "send-proxy-v2");
    let mut agent = Agent::start(&site, &Guard::ports(&[7]).hand_off(hand_off));
    let next = AtomicUsize::new(0);
    let work = || {
        while next.fetch_add(1, Ordering::Relaxed) < CONNECTIONS {
            let start = Instant::now();
            let mut stream = Dial::to(address::FRONT, 7000).attempt_here().expect("a connection");
            std::io::Write::write_all(&mut stream, b"hello\n").expect("cannot send");
            let own = stream.local_addr().expect("a bound socket");
            let expected = format!(r#"{} {} "hello\n""#, own.ip(), own.port());
            assert_eq!(read_line(&stream), expected);
            assert_eq!(proxyip_tests::read_rest(&stream), b"");
            assert!(start.elapsed() < ROUND, "{:?}", start.elapsed());
        }
    };
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| site.net.client.enter(work));
        }
    });
    agent.wait_counter("closed", CONNECTIONS.try_into().expect("a small number"));
    let found_one = agent.translated_for("time_wait");
    assert!(found_one > 500 || hand_off == HandOff::Translate, "{found_one} in TIME_WAIT");
    site.finish(&mut agent, &[]);
}
