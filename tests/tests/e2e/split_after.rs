//! What is left of a header in parts: after its connection was reset, was completed, or was followed by another one.

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use proxyip_tests::servers::{EchoServer, RubyEcho};
use proxyip_tests::{Agent, Guard, HandOff, RawPeer, Site, address, eventually, is_reset};

use crate::common::{header_of_client, listen_with_room_for_one, trusted_dial};
use crate::raw::{DATA, expect_answer};
use crate::segments::answer_all;
use crate::split::{SOON, first_segment, send_parts};

fn guard(hand_off: HandOff, header_timeout: u32) -> Guard {
    let setting = format!("header_timeout = {header_timeout}");
    Guard::ports(&[80]).hand_off(hand_off).setting(&setting)
}

/// A raw peer. The first `length` bytes of its header have been acknowledged.
fn begun(site: &Site, length: usize) -> RawPeer {
    let mut peer = RawPeer::new(site, 4000, 80);
    peer.open(&[]);
    peer.send(RawPeer::ACK, &[], &[]);
    peer.send(DATA, &[], &header_of_client()[..length]);
    assert_eq!(peer.receive(SOON).expect("an acknowledgment").flags, RawPeer::ACK);
    peer
}

/// The next segment that is no repeated SYN-ACK must be a RST.
fn expect_reset(peer: &RawPeer) {
    let answer = std::iter::from_fn(|| peer.receive(Duration::from_secs(4)))
        .find(|answer| answer.flags & RawPeer::SYN == 0);
    assert_ne!(answer.expect("a RST").flags & RawPeer::RST, 0);
}

#[test]
fn a_late_header_that_was_reset_is_reset_again() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard(HandOff::Auto, 1));
    let mut peer = begun(&site, 13);
    expect_reset(&peer);
    peer.send(DATA, &[], &header_of_client()[13..]);
    expect_reset(&peer);
    site.finish(&mut agent, &[("header_timeout", 1)]);
}

/// More connections than there is room for. Each is reset, and the agent survives. So does an agent that is started
/// meanwhile.
#[test]
fn many_that_do_not_go_on_are_all_reset() {
    const CONNECTIONS: usize = 1300;
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &guard(HandOff::Translate, 3));
    let begin = |_| {
        let stream = trusted_dial(80).open(&site.net.balancer);
        send_parts(&stream, &[&header_of_client()[..20]]);
        stream
    };
    let streams: Vec<_> = (0..CONNECTIONS).map(begin).collect();
    agent.kill();
    agent.start_again();
    for stream in &streams {
        assert!(is_reset(stream));
    }
    // Under translate some go on: they answer the SYN-ACK that the kernel sends again.
    let drops = agent.numbers("drops");
    assert_eq!(drops.values().sum::<u64>(), CONNECTIONS as u64, "{drops:?}");
    assert!(drops.keys().all(|it| ["header_timeout", "header_forgotten"].contains(&&it[..])));
    assert!(agent.process().is_alive());
}

/// The old connection's 4-tuple is in `TIME_WAIT` meanwhile. The program still translates what the kernel sends for
/// it.
#[test]
fn a_part_is_acknowledged_beside_an_old_translation() {
    let site = Site::new();
    answer_all(&site);
    let _ruby = RubyEcho::start(&site, address::SERVER, 7);
    let _agent = Agent::start(&site, &Guard::ports(&[7]).hand_off(HandOff::Translate));
    let mut peer = RawPeer::new(&site, 4000, 7);
    peer.open(&[]);
    peer.send(DATA, &[], &[header_of_client(), b"hello\n".to_vec()].concat());
    peer.receive_payload();
    let end = std::iter::from_fn(|| peer.receive(SOON)).find(|it| it.flags & RawPeer::FIN != 0);
    end.expect("the server's end of the stream");
    peer.acknowledgment = peer.acknowledgment.wrapping_add(1);
    peer.send(RawPeer::FIN | RawPeer::ACK, &[], &[]);
    eventually("TIME_WAIT at the server", || {
        site.net.server.run("ss -Htn state time-wait").contains("10.77.1.2:4000").then_some(())
    });
    let next = peer.sequence;
    let mut peer = RawPeer::new(&site, 4000, 7);
    peer.sequence = next.wrapping_add(100_000);
    peer.open(&[]);
    let start = peer.sequence;
    peer.send(DATA, &[], &header_of_client()[..20]);
    let answer = peer.receive(SOON).expect("an acknowledgment");
    assert_eq!(answer.acknowledgment.wrapping_sub(start), 20, "{answer:?}");
}

#[test]
fn a_new_connection_does_not_pay_for_an_old_part() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard(HandOff::Translate, 3));
    let mut peer = begun(&site, 20);
    let start = peer.sequence.wrapping_sub(20);
    peer.sequence = start;
    peer.send(RawPeer::RST, &[], &[]);
    std::thread::sleep(Duration::from_millis(200));
    peer.sequence = start.wrapping_add(1_000_000);
    peer.open(&[]);
    peer.send(RawPeer::ACK, &[], &[]);
    std::thread::sleep(Duration::from_secs(6));
    peer.send(DATA, &[], &first_segment());
    expect_answer(&mut peer);
    site.finish(&mut agent, &[]);
}

/// Without the programs the kernel would take the rest of the header for the payload.
#[test]
fn detach_ends_what_has_begun() {
    let site = Site::new();
    let listener = site.net.server.enter(|| TcpListener::bind("10.77.1.1:80")).expect("a listener");
    let mut agent = Agent::start(&site, &guard(HandOff::Translate, 60));
    let stream = trusted_dial(80).open(&site.net.balancer);
    send_parts(&stream, &[&header_of_client()[..20]]);
    agent.wait_counter("header_part", 1);
    agent.kill();
    let pins = site.scratch.pin_path().display().to_string();
    assert_eq!(agent.ask(&["detach", "--pin-path", &pins]).code, 0);
    assert!(is_reset(&stream));
    listener.set_nonblocking(true).expect("a socket");
    assert!(listener.accept().is_err(), "nothing is accepted");
}

/// Its parts were read when the accept queue was full, and are sent again when the socket can be made.
#[test]
fn an_observed_connection_lives_on() {
    let site = Site::new();
    let listener = listen_with_room_for_one(&site);
    let mut agent = Agent::start(&site, &guard(HandOff::Observe, 2));
    let bytes = first_segment();
    let mut peer = RawPeer::new(&site, 4000, 80);
    peer.open(&[]);
    let start = peer.sequence;
    let _filler = trusted_dial(80).open(&site.net.balancer);
    let overflows = || site.net.server.statistic("TcpExt", "ListenOverflows");
    peer.send(DATA, &[], &bytes[..20]);
    peer.send(DATA, &[], &bytes[20..]);
    eventually("the queue is full", || (overflows() > 0).then_some(()));
    let _first = listener.accept().expect("the filler");
    peer.sequence = start;
    peer.send(DATA, &[], &bytes[..20]);
    peer.send(DATA, &[], &bytes[20..]);
    let socket = std::net::TcpStream::from(listener.accept().expect("a connection").0);
    let mut all = vec![0; bytes.len()];
    (&socket).read_exact(&mut all).expect("all bytes");
    assert_eq!(all, bytes);
    std::thread::sleep(Duration::from_secs(4));
    assert!(socket.take_error().expect("SO_ERROR").is_none());
    peer.send(RawPeer::RST, &[], &[]);
    site.finish(&mut agent, &[]);
}

/// Where packets of an address have a routing table of their own, the agent's RST takes it too.
#[test]
fn a_late_header_is_reset_by_the_way_of_its_address() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    for command in [
        "ip route add 10.77.1.0/24 dev eth0 table 100",
        "ip rule add from 10.77.1.1 lookup 100",
        "ip route add blackhole 10.77.1.2/32",
    ] {
        site.net.server.run(command);
    }
    let mut agent = Agent::start(&site, &guard(HandOff::Auto, 1));
    let stream = trusted_dial(80).open(&site.net.balancer);
    send_parts(&stream, &[&header_of_client()[..20]]);
    assert!(is_reset(&stream));
    site.finish(&mut agent, &[("header_timeout", 1)]);
}
