//! Firewall rules that look at SYNs and SYN-ACKs, which accept never lets them see; and what does the same instead.

use std::io::ErrorKind;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, RawPeer, Site, address};

use crate::common::{
    CLIENT, ask_names, assert_both, header_of_client, open_and_send, socket_address, trusted_dial,
};

fn connect(site: &Site) -> Result<(), ErrorKind> {
    trusted_dial(80).attempt(&site.net.balancer).map(drop).map_err(|error| error.kind())
}

fn assert_served(site: &Site) {
    let stream = open_and_send(site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
}

fn drain(agent: &Agent) {
    let answer = agent.ask(&["listener", "drain", "web"]);
    assert_eq!(answer.code, 0, "{answer:?}");
}

/// The old recipe for taking a server out of rotation.
#[test]
fn rejecting_syns_stops_translated_connections_and_draining_stops_accepted_ones() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    site.net
        .server
        .run("iptables -I INPUT -p tcp --dport 80 --syn -j REJECT --reject-with tcp-reset");
    let mut guard = Guard::ports(&[80]);
    let mut agent = Agent::start(&site, &guard.clone().hand_off(HandOff::Translate));
    assert_eq!(connect(&site), Err(ErrorKind::ConnectionRefused));
    guard = guard.hand_off(HandOff::Accept);
    assert!(agent.reload(&guard).contains("in force"));
    assert_served(&site);
    drain(&agent);
    assert_eq!(connect(&site), Err(ErrorKind::ConnectionRefused));
    site.finish(&mut agent, &[("drained", 1)]);
}

/// A bare TCP check sends nothing that the rule could drop.
#[test]
fn dropping_a_port_leaves_bare_checks_green_under_accept_and_draining_does_not() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(HandOff::Accept));
    site.net.server.run("iptables -I INPUT -p tcp --dport 80 -j DROP");
    assert_eq!(connect(&site), Ok(()));
    drain(&agent);
    assert_eq!(connect(&site), Err(ErrorKind::ConnectionRefused));
    site.finish(&mut agent, &[("drained", 1)]);
}

/// The MSS option of the answer to a SYN from this port.
fn offered_mss(site: &Site, port: u16) -> u16 {
    let mut peer = RawPeer::new(site, port, 80);
    let answer = peer.open(&[2, 4, 0x05, 0xb4]);
    assert_eq!(answer.options[..2], [2, 4], "{:?}", answer.options);
    u16::from_be_bytes([answer.options[2], answer.options[3]])
}

#[test]
fn a_rule_sets_the_mss_of_translated_connections_and_a_route_that_of_accepted_ones() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let server = &site.net.server;
    server.run(
        "iptables -t mangle -A POSTROUTING -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1240",
    );
    let translate = Guard::ports(&[80]).hand_off(HandOff::Translate);
    let mut agent = Agent::start(&site, &translate);
    assert_eq!(offered_mss(&site, 4000), 1240);
    assert!(agent.reload(&Guard::ports(&[80]).hand_off(HandOff::Accept)).contains("in force"));
    assert_eq!(offered_mss(&site, 4001), 1460);
    server.ip("route change 10.77.1.0/24 dev eth0 src 10.77.1.1 advmss 1240");
    let mut port = 4001;
    proxyip_tests::eventually("the route's MSS", || {
        port += 1;
        (offered_mss(&site, port) == 1240).then_some(())
    });
    site.finish(&mut agent, &[]);
}
