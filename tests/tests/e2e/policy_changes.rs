//! What a change of the configuration finds: handshakes under way, connections that were let through, other settings that
//! would let a client past its list.

use std::io::Write;

use proxyip_tests::servers::{AcceptQueue, EchoServer};
use proxyip_tests::{Agent, Guard, HandOff, Site, address, is_reset};

use crate::common::{
    CLIENT, ask_names, assert_both, auto_translate_and_observe, exchange, header_of_client,
    open_and_send, socket_address, trusted_dial,
};
use crate::firewall::{PORT, ask, is_answered};
use crate::firewall_states::count_marked;

auto_translate_and_observe!(a_marked_connection_stays_marked);

const DENIED: &str = "198.51.100.7/32";

/// The header comes when its sender is no longer trusted. The old lists do not let its client in, and the new lists
/// do not either.
#[test]
fn a_handshake_whose_source_has_lost_its_trust_comes_to_nothing() {
    let hand_off = HandOff::Translate;
    let site = Site::without_captures();
    let queue = AcceptQueue::listen(&site.net.server, 80);
    let guard =
        Guard::ports(&[80]).hand_off(hand_off).deny(DENIED).setting("untrusted = \"reset\"");
    let mut agent = Agent::start(&site, &guard);
    let mut stream = trusted_dial(80).open(&site.net.balancer);
    agent.wait_counter("ack_deferred", 1);
    agent.reload(&guard.clone().trusting("192.0.2.0/24"));
    stream.write_all(&header_of_client()).expect("cannot send");
    assert!(is_reset(&stream));
    assert!(queue.next().is_none(), "the application has got it");
    site.finish(&mut agent, &[("trust_withdrawn", 1)]);
}

/// Denied clients are reset from now on, but connected ones keep their mark for rules.
fn a_marked_connection_stays_marked(hand_off: HandOff) {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, PORT);
    let guard = Guard::ports(&[PORT]).hand_off(hand_off).deny(DENIED);
    let marking = guard.clone().denied("mark").setting("mark = 0x2000");
    let mut agent = Agent::start(&site, &marking);
    let packets = count_marked(&site, 0x2000);
    let stream = ask(&site, &trusted_dial(PORT), CLIENT);
    assert!(is_answered(&stream));
    agent.wait_counter("marked", 1);
    exchange(&stream);
    agent.reload(&guard);
    let [all, marked] = packets();
    for _ in 0..5 {
        exchange(&stream);
    }
    let [all_now, marked_now] = packets();
    assert!(all_now >= all + 5);
    assert_eq!(all_now - all, marked_now - marked);
    assert!(is_reset(&open_and_send(&site, &trusted_dial(PORT), &header_of_client())));
    drop(stream);
    agent.wait_counter("closed", 1);
    site.finish(&mut agent, &[("denied_reset", 1)]);
}

/// A connection that `hand_off = "accept"` cannot serve is left to the kernel. A listener with a list refuses it
/// instead, because the application would get it unjudged.
#[test]
fn what_accept_cannot_serve_is_refused_if_there_is_a_list() {
    let site = Site::without_captures();
    let queue = AcceptQueue::listen(&site.net.server, 80);
    site.net.server.run("sysctl -qw net.ipv4.tcp_syncookies=0");
    let guard = Guard::ports(&[80]).setting("hand_off = \"accept\"").deny(DENIED);
    let mut agent = Agent::start(&site, &guard);
    let refused = trusted_dial(80).attempt(&site.net.balancer);
    assert!(refused.is_err(), "{refused:?}");
    assert!(queue.next().is_none());
    site.finish(&mut agent, &[("unjudged", 1)]);
}

/// The names of pins, and of what takes their place for a moment, must not collide.
#[test]
fn sets_with_names_alike_are_all_pinned_after_a_restart() {
    let site = Site::without_captures();
    let names = ["office-new", "office", "office-new-new"];
    let mut guard = Guard::ports(&[80]);
    for name in names {
        guard = guard.set(name, "cidrs = [\"192.0.2.0/24\"]");
    }
    let mut agent = Agent::start(&site, &guard);
    for _ in 0..2 {
        for name in names {
            let pin = site.scratch.pin_path().join("match").join(name);
            assert!(pin.exists(), "{}", pin.display());
        }
        agent.kill();
        agent.start_again();
    }
    site.finish(&mut agent, &[]);
}

/// An agent takes over what is in force, and what others have left half written is removed.
#[test]
fn a_restart_writes_no_list_anew() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).allow("198.51.100.0/24, 2001:db8::/32");
    let mut scopes = Vec::new();
    let mut agent = Agent::start(&site, &guard);
    for _ in 0..3 {
        let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
        assert_both(ask_names(&stream), socket_address(CLIENT));
        let map = site.scratch.pin_path().join("maps-14/POLICIES");
        scopes.push(site.net.server.run(&format!("bpftool map dump pinned {}", map.display())));
        agent.kill();
        agent.start_again();
    }
    assert_eq!((&scopes[1], &scopes[2]), (&scopes[0], &scopes[0]));
    site.finish(&mut agent, &[]);
}
