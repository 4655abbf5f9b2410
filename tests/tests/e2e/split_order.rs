//! Parts of a header that find no room: in the accept queue, or beside the parts of other headers.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Site, capacity_of_map, eventually};

use crate::common::{
    CLIENT, ask_names, assert_both, auto_and_translate, expect_names, header_of_client,
    listen_with_room_for_one, on_ipv6_socket, socket_address, trusted_dial,
};
use crate::split::{first_segment, send_parts};

auto_and_translate!(headers_in_parts_that_find_the_accept_queue_full_come_later);

fn headers_in_parts_that_find_the_accept_queue_full_come_later(hand_off: HandOff) {
    let site = Site::new();
    let listener = listen_with_room_for_one(&site);
    let agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let streams: [TcpStream; 4] =
        std::array::from_fn(|_| trusted_dial(80).open(&site.net.balancer));
    let bytes = first_segment();
    for stream in &streams {
        send_parts(stream, &[&bytes[..20], &bytes[20..]]);
    }
    let overflows = || site.net.server.statistic("TcpExt", "ListenOverflows");
    eventually("each is refused twice", || (overflows() >= 6).then_some(()));
    // Longer than a header that does not go on may take.
    std::thread::sleep(Duration::from_secs(6));
    for _ in &streams {
        let (socket, peer) = listener.accept().expect("a connection");
        assert_eq!(peer.as_socket(), Some(socket_address(CLIENT)));
        let line = proxyip_tests::read_line(&TcpStream::from(socket));
        assert_eq!(line, "who am I?");
    }
    let drops = agent.numbers("drops");
    assert!(drops.keys().all(|reason| reason == "payload_without_socket"), "{drops:?}");
    site.assert_clean();
}

/// A flood of headers that are begun and not completed. Headers that begin now are served. A header of the flood that
/// goes on is served with its own client if its bytes are kept, and reset otherwise. The kernel chooses which bytes
/// to keep: its LRU is not exact, and each processor has a share of it.
#[test]
fn those_that_make_room_are_reset() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let guard = Guard::ports(&[80]).hand_off(HandOff::Translate).setting("header_timeout = 300");
    let mut agent = Agent::start(&site, &guard);
    // More on hosts with many processors.
    let kept = capacity_of_map(&site, "HEADER_BYTES");
    let flood_size = 2 * kept;
    let bytes = first_segment();
    let begin = || {
        let stream = trusted_dial(80).open(&site.net.balancer);
        send_parts(&stream, &[&bytes[..20]]);
        stream
    };
    let flood: Vec<_> = (0..flood_size).map(|_| begin()).collect();
    agent.wait_counter("header_part", flood_size as u64);
    let latest = begin();
    send_parts(&latest, &[&bytes[20..]]);
    assert_both(expect_names(&latest), on_ipv6_socket(CLIENT));
    let whole = trusted_dial(80).open(&site.net.balancer);
    send_parts(&whole, &[&header_of_client()]);
    assert_both(ask_names(&whole), on_ipv6_socket(CLIENT));
    let mut resets = 0;
    for stream in flood {
        // It may have been reset before: it has answered a SYN-ACK that the kernel sent again.
        let sent = (&stream).write_all(&bytes[20..]).is_ok();
        if sent && has_answer(&stream) {
            assert_both(expect_names(&stream), on_ipv6_socket(CLIENT));
        } else {
            resets += 1;
        }
    }
    assert!((kept..flood_size).contains(&resets), "{resets} of {flood_size} reset");
    site.finish(&mut agent, &[("header_forgotten", resets as u64)]);
}

/// Waits for an answer, which stays to be read, or a reset.
fn has_answer(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0; 1]) {
        Ok(length) => length == 1,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
        Err(error) => panic!("neither answered nor reset: {error}"),
    }
}
