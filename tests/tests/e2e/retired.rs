//! Translated connections after the configuration has dropped their port, or their hand-off.

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Site, address};

use crate::common::{
    CLIENT, ask_names, assert_both, assert_echoed, assert_left_alone, exchange, header_of_client,
    open_and_send, open_for, pattern, socket_address, trusted_dial,
};

#[test]
fn connections_of_a_port_that_is_guarded_no_longer_live_on() {
    let site = Site::without_captures();
    let _echoes = [80, 81].map(|port| EchoServer::start(&site.net.server, address::SERVER, port));
    let guard = Guard::ports(&[80]).hand_off(HandOff::Translate);
    let mut agent = Agent::start(&site, &guard);
    let [(first, _), (second, client)] = [1, 2].map(|number| open_for(&site, number));
    let peers = [&first, &second].map(|stream| stream.local_addr().unwrap().to_string());

    agent.kill();
    agent.configure(&Guard::ports(&[81]).hand_off(HandOff::Translate));
    agent.start_again();
    [&first, &second].into_iter().for_each(exchange);
    assert_eq!(agent.ask(&["lookup", &peers[1], "10.77.1.1:80"]).stdout, client.to_string());
    assert_eq!(agent.status().translated, 2);
    assert_left_alone(&site, &trusted_dial(80));
    let guarded = open_and_send(&site, &trusted_dial(81), &header_of_client());
    assert_both(ask_names(&guarded), socket_address(CLIENT));

    drop(first);
    agent.wait_event("close", &peers[0]);
    assert_left_alone(&site, &trusted_dial(80));
    assert_echoed(&second, &pattern(1_000_000));
    drop(second);
    agent.wait_event("close", &peers[1]);
    assert_left_alone(&site, &trusted_dial(80));
    site.finish(&mut agent, &[]);
}

/// Each connection keeps the hand-off that it began with.
#[test]
fn a_restart_with_another_hand_off_leaves_connections_as_they_are() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let with = |hand_off| Guard::ports(&[80]).hand_off(hand_off);
    let mut agent = Agent::start(&site, &with(HandOff::Translate));
    let mut opened = vec![open_for(&site, 0).0];
    for (number, hand_off) in (1..).zip([HandOff::Auto, HandOff::Translate]) {
        // Nothing but the SYN of this one comes before the change.
        let mut opening = trusted_dial(80).open(&site.net.balancer);
        agent.kill();
        agent.configure(&with(hand_off));
        agent.start_again();
        std::io::Write::write_all(&mut opening, &header_of_client()).expect("cannot send");
        assert_both(ask_names(&opening), socket_address(CLIENT));
        opened.extend([opening, open_for(&site, number).0]);
        opened.iter().for_each(exchange);
    }
    for stream in &opened {
        assert_echoed(stream, &pattern(100_000));
    }
    site.finish(&mut agent, &[]);
}
