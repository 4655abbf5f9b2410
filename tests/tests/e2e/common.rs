//! What several tests do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use aya::programs::{SchedClassifier, TcAttachType};
use proxyip_tests::servers::PeerNames;
use proxyip_tests::{
    Agent, Dial, HandOff, Namespace, Site, address, eventually, header, read_rest,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Makes tests of these functions, which take a `HandOff`: `auto::NAME` and `translate::NAME`.
macro_rules! auto_and_translate {
    ($($test:ident),+ $(,)?) => {
        mod auto {
            $(#[test] fn $test() { super::$test(proxyip_tests::HandOff::Auto); })+
        }
        mod translate {
            $(#[test] fn $test() { super::$test(proxyip_tests::HandOff::Translate); })+
        }
    };
}
pub(crate) use auto_and_translate;

/// As [`auto_and_translate`], and `observe::NAME`.
macro_rules! auto_translate_and_observe {
    ($($test:ident),+ $(,)?) => {
        crate::common::auto_and_translate!($($test),+);
        mod observe {
            $(#[test] fn $test() { super::$test(proxyip_tests::HandOff::Observe); })+
        }
    };
}
pub(crate) use auto_translate_and_observe;

/// As [`auto_and_translate`], and `multipath::NAME` where the servers listen with MPTCP sockets.
macro_rules! auto_translate_and_multipath {
    ($($test:ident),+ $(,)?) => {
        crate::common::auto_and_translate!($($test),+);
        mod multipath {
            $(#[test] fn $test() { super::$test(proxyip_tests::HandOff::Multipath); })+
        }
    };
}
pub(crate) use auto_translate_and_multipath;

/// A client that exists only in headers.
pub(crate) const CLIENT: &str = "198.51.100.7:51234";
/// A client that exists only in headers.
pub(crate) const CLIENT6: &str = "[2001:db8:5::7]:51234";
/// Where those clients connected to.
pub(crate) const DESTINATION: &str = "192.0.2.1:443";
/// Where those clients connected to.
pub(crate) const DESTINATION6: &str = "[2001:db8:2::1]:443";

pub(crate) fn socket_address(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}

/// What an IPv6 socket says of this peer.
pub(crate) fn on_ipv6_socket(address: &str) -> SocketAddr {
    match socket_address(address) {
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        v6 @ SocketAddr::V6(_) => v6,
    }
}

/// A version 2 header of [`CLIENT`].
pub(crate) fn header_of_client() -> Vec<u8> {
    header::v2(socket_address(CLIENT), socket_address(DESTINATION))
}

/// A version 2 header of [`CLIENT6`].
pub(crate) fn header_of_client6() -> Vec<u8> {
    header::v2(socket_address(CLIENT6), socket_address(DESTINATION6))
}

/// A version 1 header of [`CLIENT`].
pub(crate) fn version_1() -> Vec<u8> {
    header::v1(socket_address(CLIENT), socket_address(DESTINATION))
}

/// Asserts that a header on this way reaches the program.
pub(crate) fn assert_left_alone(site: &Site, dial: &Dial) {
    let stream = open_and_send(site, dial, &version_1());
    let (names, line) = PeerNames::read(&stream);
    assert_both(names, stream.local_addr().expect("a bound socket"));
    assert!(line.starts_with("\"PROXY TCP4 "), "{line}");
}

/// From the load balancer's trusted address to the server.
pub(crate) fn trusted_dial(port: u16) -> Dial {
    Dial::to(address::SERVER, port).from(address::BALANCER, 0)
}

/// From the load balancer's trusted IPv6 address to the server.
pub(crate) fn trusted_dial6(port: u16) -> Dial {
    Dial::to(address::SERVER6, port).from(address::BALANCER6, 0)
}

/// Opens a connection from the load balancer and writes `bytes` in one call.
pub(crate) fn open_and_send(site: &Site, dial: &Dial, bytes: &[u8]) -> TcpStream {
    let mut stream = dial.open(&site.net.balancer);
    stream.write_all(bytes).expect("cannot send");
    stream
}

/// Sends a line on a connection to an `EchoServer` and asserts that it arrives as it was sent.
pub(crate) fn ask_names(mut stream: &TcpStream) -> PeerNames {
    stream.write_all(b"who am I?\n").expect("cannot send");
    expect_names(stream)
}

/// Reads an `EchoServer`'s answer to the line `who am I?`.
pub(crate) fn expect_names(stream: &TcpStream) -> PeerNames {
    let (names, line) = PeerNames::read(stream);
    assert_eq!(line, r#""who am I?""#, "the first line that the server read");
    names
}

/// Asserts that the flow log has connections, and that each of them was given to the application like this.
pub(crate) fn assert_handed_off(agent: &Agent, hand_off: HandOff) {
    let log = eventually("lines of the flow log", || {
        Some(agent.flow_log()).filter(|log| log.iter().any(|line| line["event"] == "accept"))
    });
    for line in log.iter().filter(|line| line["event"] == "accept") {
        assert_eq!(line["hand_off"], hand_off.label(), "{line}");
    }
}

/// Opens a connection for a new client and checks which client the server sees.
pub(crate) fn open_for(site: &Site, number: u32) -> (TcpStream, SocketAddr) {
    let [_, _, high, low] = number.to_be_bytes();
    let client = SocketAddr::from(([198, 18, high, low], 40_000));
    let header = header::v2(client, socket_address(DESTINATION));
    let stream = open_and_send(site, &trusted_dial(80), &header);
    assert_both(ask_names(&stream), client);
    (stream, client)
}

/// Asserts that both calls named the same peer.
pub(crate) fn assert_both(names: PeerNames, expected: SocketAddr) {
    assert_eq!(names, PeerNames { accepted: expected, named: expected });
}

/// Sends `bytes` to an `EchoServer` that has already had its first line, then the end of the stream. Asserts that
/// exactly these bytes come back.
pub(crate) fn assert_echoed(stream: &TcpStream, bytes: &[u8]) {
    let received = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sender = stream;
            sender.write_all(bytes).expect("cannot send");
            stream.shutdown(std::net::Shutdown::Write).expect("cannot end the stream");
        });
        read_rest(stream)
    });
    assert_same(&received, bytes);
}

/// Sends and receives on an established connection.
pub(crate) fn exchange(mut stream: &TcpStream) {
    let sent = pattern(5000);
    stream.write_all(&sent).expect("the connection is alive");
    let mut received = vec![0; sent.len()];
    stream.read_exact(&mut received).expect("the connection is alive");
    assert_same(&received, &sent);
}

/// Compares without printing megabytes.
pub(crate) fn assert_same(received: &[u8], sent: &[u8]) {
    let difference = received.iter().zip(sent).position(|(one, other)| one != other);
    assert_eq!(difference, None, "offset of the first wrong byte");
    assert_eq!(received.len(), sent.len(), "bytes received");
}

/// Bytes without a short period, so that a piece lost, doubled or moved shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Sets a flag in any case: a panic on one thread must not leave the others running for ever.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A socket of the server that listens on port 80. Its accept queue has room for one connection.
pub(crate) fn listen_with_room_for_one(site: &Site) -> Socket {
    let listener = site.net.server.enter(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SockAddr::from(socket_address("10.77.1.1:80")))?;
        socket.listen(0)?;
        Ok::<_, std::io::Error>(socket)
    });
    listener.expect("cannot listen")
}

/// The programs at an interface, ingress first, in the order in which they run. Linux 6.6 or later.
pub(crate) fn programs_at(namespace: &Namespace, interface: &str) -> Vec<String> {
    let directions = [TcAttachType::Ingress, TcAttachType::Egress];
    namespace.enter(|| {
        let attached = directions.map(|direction| SchedClassifier::query_tcx(interface, direction));
        let attached = attached.into_iter().flat_map(|attached| attached.expect("programs").1);
        attached.map(|program| program.name_as_str().expect("a name").to_owned()).collect()
    })
}
