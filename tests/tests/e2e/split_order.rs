//! Parts of a header that overlap, are lost, come again or out of order: a right connection, or a clean reset.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, RawPeer, Segment, Site, capacity_of_map, eventually};

use crate::common::{
    CLIENT, ask_names, assert_both, auto_and_translate, expect_names, header_of_client,
    listen_with_room_for_one, on_ipv6_socket, socket_address, trusted_dial,
};
use crate::raw::{DATA, close, expect_answer, with_echo};
use crate::segments::answer_all;
use crate::split::{SOON, first_segment, send_parts};

auto_and_translate!(
    parts_that_overlap,
    parts_that_come_again_are_acknowledged_again,
    the_header_whole_after_a_part_of_it,
    a_part_that_overtakes_another_is_not_acknowledged,
    bytes_that_were_acknowledged_count_and_not_their_like,
    probes_within_the_header_are_answered,
    a_reset_within_the_header_is_believed,
    a_new_connection_from_the_same_port_begins_anew,
    headers_in_parts_that_find_the_accept_queue_full_come_later,
    those_that_make_room_are_reset
);

/// Sends bytes `range` of the stream.
fn send_range(peer: &mut RawPeer, start: u32, bytes: &[u8], range: std::ops::Range<usize>) {
    peer.sequence = start.wrapping_add(u32::try_from(range.start).expect("a small number"));
    peer.send(DATA, &[], &bytes[range]);
}

/// The next segment, which must acknowledge `length` bytes of the stream and hold nothing else.
fn expect_acknowledgment(peer: &RawPeer, start: u32, length: u32) -> Segment {
    let answer = peer.receive(SOON).expect("an acknowledgment");
    assert_eq!(answer.flags, RawPeer::ACK, "{answer:?}");
    assert_eq!(answer.acknowledgment.wrapping_sub(start), length, "{answer:?}");
    assert_eq!((answer.sequence, answer.payload.len()), (peer.acknowledgment, 0), "{answer:?}");
    assert!(answer.window > 0, "{answer:?}");
    answer
}

/// A connection whose handshake is done.
fn opened(site: &Site) -> (RawPeer, u32) {
    let mut peer = RawPeer::new(site, 4000, 80);
    peer.open(&[]);
    peer.send(RawPeer::ACK, &[], &[]);
    let start = peer.sequence;
    (peer, start)
}

fn parts_that_overlap(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        let (mut peer, start) = opened(site);
        let bytes = first_segment();
        for (range, acknowledged) in [(0..10, 10), (5..20, 20), (0..25, 25), (24..27, 27)] {
            send_range(&mut peer, start, &bytes, range);
            expect_acknowledgment(&peer, start, acknowledged);
        }
        send_range(&mut peer, start, &bytes, 3..bytes.len());
        expect_answer(&mut peer);
        close(&mut peer);
    });
}

fn parts_that_come_again_are_acknowledged_again(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, agent| {
        let (mut peer, start) = opened(site);
        let bytes = first_segment();
        for (range, acknowledged) in
            [(0..20, 20), (0..20, 20), (0..5, 20), (10..20, 20), (19..20, 20)]
        {
            send_range(&mut peer, start, &bytes, range);
            expect_acknowledgment(&peer, start, acknowledged);
        }
        assert_eq!(agent.counter("header_part"), 5);
        send_range(&mut peer, start, &bytes, 20..bytes.len());
        expect_answer(&mut peer);
        // What belongs to the header is old to TCP as well.
        send_range(&mut peer, start, &bytes, 10..bytes.len());
        peer.send(DATA, &[], b"next");
        assert_eq!(peer.receive_payload(), b"next");
        close(&mut peer);
    });
}

/// The acknowledgment was lost, and the peer has merged what it sends again.
fn the_header_whole_after_a_part_of_it(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, agent| {
        let (mut peer, start) = opened(site);
        let bytes = first_segment();
        send_range(&mut peer, start, &bytes, 0..20);
        expect_acknowledgment(&peer, start, 20);
        send_range(&mut peer, start, &bytes, 0..bytes.len());
        expect_answer(&mut peer);
        // It lives on when the header would have been late.
        std::thread::sleep(Duration::from_secs(7));
        peer.send(DATA, &[], b"still here");
        assert_eq!(peer.receive_payload(), b"still here");
        assert_eq!(agent.numbers("drops").get("header_timeout"), None);
        close(&mut peer);
    });
}

fn a_part_that_overtakes_another_is_not_acknowledged(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, agent| {
        answer_all(site);
        let (mut peer, start) = opened(site);
        let bytes = first_segment();
        for hole in [0, 10] {
            send_range(&mut peer, start, &bytes, hole + 5..hole + 10);
            agent.wait_counter("out_of_order", if hole == 0 { 1 } else { 2 });
            send_range(&mut peer, start, &bytes, hole..hole + 10);
            expect_acknowledgment(&peer, start, if hole == 0 { 10 } else { 20 });
        }
        send_range(&mut peer, start, &bytes, 20..bytes.len());
        expect_answer(&mut peer);
        close(&mut peer);
    });
}

/// A peer that sends other bytes the second time breaks TCP; it must not make two readers disagree.
fn bytes_that_were_acknowledged_count_and_not_their_like(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        let (mut peer, start) = opened(site);
        let bytes = first_segment();
        send_range(&mut peer, start, &bytes, 0..20);
        expect_acknowledgment(&peer, start, 20);
        let mut others = bytes.clone();
        // Of the client's address.
        others[16..20].copy_from_slice(&[9, 9, 9, 9]);
        send_range(&mut peer, start, &others, 12..bytes.len());
        expect_answer(&mut peer);
        close(&mut peer);
    });
}

fn probes_within_the_header_are_answered(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, agent| {
        let (mut peer, start) = opened(site);
        let bytes = first_segment();
        send_range(&mut peer, start, &bytes, 0..20);
        expect_acknowledgment(&peer, start, 20);
        for payload in [[].as_slice(), &[0]] {
            peer.sequence = start.wrapping_add(19);
            peer.send(RawPeer::ACK, &[], payload);
            expect_acknowledgment(&peer, start, 20);
        }
        // A bare acknowledgment needs no answer.
        peer.sequence = start.wrapping_add(20);
        peer.send(RawPeer::ACK, &[], &[]);
        assert_eq!(peer.receive(Duration::from_millis(300)), None);
        assert_eq!(agent.counter("handed_over"), 0);
        send_range(&mut peer, start, &bytes, 20..bytes.len());
        expect_answer(&mut peer);
        close(&mut peer);
    });
}

fn a_reset_within_the_header_is_believed(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, agent| {
        let (mut peer, start) = opened(site);
        send_range(&mut peer, start, &first_segment(), 0..20);
        expect_acknowledgment(&peer, start, 20);
        peer.send(RawPeer::RST, &[], &[]);
        // Nothing is left that could be late.
        std::thread::sleep(Duration::from_secs(7));
        assert_eq!(agent.numbers("drops"), std::collections::BTreeMap::new());
    });
}

fn a_new_connection_from_the_same_port_begins_anew(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        let (mut peer, start) = opened(site);
        let bytes = first_segment();
        send_range(&mut peer, start, &bytes, 0..20);
        expect_acknowledgment(&peer, start, 20);
        // The peer has forgotten everything; its kernel would send a RST first.
        peer.send(RawPeer::RST, &[], &[]);
        peer.sequence = start.wrapping_add(1_000_000);
        peer.open(&[]);
        let start = peer.sequence;
        send_range(&mut peer, start, &bytes, 0..7);
        expect_acknowledgment(&peer, start, 7);
        send_range(&mut peer, start, &bytes, 7..bytes.len());
        expect_answer(&mut peer);
        close(&mut peer);
    });
}

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

/// A flood of headers that are begun and not completed: those that begin now are served, and of those that go on each
/// is served with its own client or reset, as its bytes are kept or not. Which they are is the kernel's choice: its LRU
/// is not exact, and each processor has a share of it.
fn those_that_make_room_are_reset(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let guard = Guard::ports(&[80]).hand_off(hand_off).setting("header_timeout = 300");
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
        send_parts(&stream, &[&bytes[20..]]);
        if has_answer(&stream) {
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
