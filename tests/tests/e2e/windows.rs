//! Windows that are closed, and the probes that ask whether they have been opened.

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use proxyip_tests::{Agent, Guard, HandOff, RawPeer, Site};
use socket2::SockRef;

use crate::common::{assert_same, auto_and_translate, header_of_client, pattern};
use crate::raw::{DATA, close, with_echo};
use crate::segments::{answer_all, expect_acknowledgment_of_probe, open_and_ask};

auto_and_translate!(the_peers_window_is_closed, the_servers_window_is_closed);

const SOON: Duration = Duration::from_secs(2);

/// The server asks with a segment one below the next (RFC 9293 §3.8.6.1).
fn the_peers_window_is_closed(hand_off: HandOff) {
    with_echo(hand_off, &[], |site, _| {
        let mut peer = RawPeer::new(site, 4000, 80);
        open_and_ask(&mut peer);
        peer.window = 0;
        peer.send(DATA, &[], b"hold this");
        let mut probes = 0;
        while probes < 2 {
            let segment = peer.receive(SOON).expect("a probe");
            assert_eq!((segment.flags, &segment.payload), (RawPeer::ACK, &Vec::new()));
            assert_eq!(segment.acknowledgment, peer.sequence, "{segment:?}");
            probes += u32::from(segment.sequence == peer.acknowledgment.wrapping_sub(1));
            peer.send(RawPeer::ACK, &[], &[]);
        }
        peer.window = u16::MAX;
        peer.send(RawPeer::ACK, &[], &[]);
        assert_eq!(peer.receive_payload(), b"hold this");
        close(&mut peer);
    });
}

/// The program reads nothing until its buffer is full.
fn the_servers_window_is_closed(hand_off: HandOff) {
    let site = Site::new();
    answer_all(&site);
    let listener = site.net.server.enter(|| TcpListener::bind("10.77.1.1:80")).expect("a listener");
    SockRef::from(&listener).set_recv_buffer_size(4096).expect("SO_RCVBUF");
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let mut peer = RawPeer::new(&site, 4000, 80);
    peer.open(&[]);
    peer.send(DATA, &[], &header_of_client());
    let (mut accepted, _) = listener.accept().expect("a connection");

    let sent = pattern(100_000);
    let mut taken = 0;
    loop {
        let answer = peer.receive(SOON).expect("an acknowledgment");
        assert_eq!(answer.acknowledgment, peer.sequence, "{answer:?}");
        if answer.window == 0 {
            break;
        }
        let length = usize::from(answer.window).min(500);
        peer.send(DATA, &[], &sent[taken..taken + length]);
        taken += length;
    }
    assert!(taken > 1000, "{taken} bytes were taken");
    // What Linux asks with, then what others do: the next byte, which is not taken.
    expect_acknowledgment_of_probe(&mut peer, &[]);
    let next = peer.sequence;
    peer.send(DATA, &[], &sent[taken..=taken]);
    peer.sequence = next;
    let answer = peer.receive(SOON).expect("an answer to a probe");
    assert_eq!((answer.acknowledgment, answer.window), (next, 0), "{answer:?}");

    let mut received = vec![0; taken];
    accepted.read_exact(&mut received).expect("what was sent");
    assert_same(&received, &sent[..taken]);
    let update = peer.receive(SOON).expect("an update of the window");
    assert_eq!(update.acknowledgment, next, "{update:?}");
    assert!(update.window > 0, "{update:?}");
    peer.send(DATA, &[], b"more");
    let mut more = [0; 4];
    accepted.read_exact(&mut more).expect("what was sent");
    assert_eq!(&more, b"more");
    close(&mut peer);
    drop(accepted);
    site.finish(&mut agent, &[]);
}
