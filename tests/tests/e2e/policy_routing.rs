//! A server with two uplinks, whose routes follow from rules.

use std::io::ErrorKind;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, address};

use crate::common::{
    CLIENT, CLIENT6, ask_names, assert_both, auto_and_translate, header_of_client,
    header_of_client6, on_ipv6_socket, open_and_send,
};

auto_and_translate!(each_uplink_answers_by_its_own_table);

/// The load balancer, which is not a neighbour of the server.
const FAR: &str = "10.99.0.1";
/// The load balancer, which is not a neighbour of the server.
const FAR6: &str = "fd00:99::1";
/// The server at its second uplink.
const SECOND: &str = "10.78.1.1";
/// The server at its second uplink.
const SECOND6: &str = "fd00:78:1::1";

/// Gives the server a second uplink, `eth1`. The main table leads to the load balancer over the first one.
fn add_second_uplink(site: &Site) {
    let (balancer, server) = (&site.net.balancer, &site.net.server);
    balancer.ip(&format!("link add eth2 type veth peer name eth1 netns {}", server.name()));
    for (namespace, interface, host) in [(balancer, "eth2", 2), (server, "eth1", 1)] {
        namespace.ip(&format!("link set {interface} up"));
        namespace.ip(&format!("addr add 10.78.1.{host}/24 dev {interface}"));
        namespace.ip(&format!("addr add fd00:78:1::{host}/64 dev {interface} nodad"));
    }
    balancer.ip(&format!("addr add {FAR}/32 dev lo"));
    balancer.ip(&format!("addr add {FAR6}/128 dev lo nodad"));
    // As a router, at which the server does not find the load balancer's own address.
    balancer.sysctl("ipv4.conf.eth2.arp_ignore", "1");
    balancer.sysctl("ipv4.conf.eth2.arp_announce", "2");
    for (family, far, router) in [("-4", FAR, address::BALANCER), ("-6", FAR6, address::BALANCER6)]
    {
        server.ip(&format!("{family} route add {far} via {router} dev eth0"));
    }
    for (family, far, router) in [("-4", FAR, "10.78.1.2"), ("-6", FAR6, "fd00:78:1::2")] {
        server.ip(&format!("{family} route add {far} via {router} dev eth1 table 100"));
    }
}

fn guard(hand_off: HandOff) -> Guard {
    Guard::ports(&[80])
        .trusting(&format!("{FAR}/32"))
        .also_trusting(&format!("{FAR6}/128"))
        .hand_off(hand_off)
        .interface_setting("[[interface]]\nname = \"eth1\"")
}

fn assert_served(site: &Site, target: &str, source: &str) {
    let (header, client) = if target.contains(':') {
        (header_of_client6(), CLIENT6)
    } else {
        (header_of_client(), CLIENT)
    };
    let stream = open_and_send(site, &Dial::to(target, 80).from(source, 0), &header);
    assert_both(ask_names(&stream), on_ipv6_socket(client));
}

/// The usual rule for two uplinks: answers leave by the uplink whose address they have.
fn each_uplink_answers_by_its_own_table(hand_off: HandOff) {
    let site = Site::without_captures();
    add_second_uplink(&site);
    let server = &site.net.server;
    server.ip(&format!("-4 rule add from {SECOND} lookup 100"));
    server.ip(&format!("-6 rule add from {SECOND6} lookup 100"));
    let _echo = EchoServer::start(server, "::", 80);
    let mut agent = Agent::start(&site, &guard(hand_off));
    for (target, source) in
        [(address::SERVER, FAR), (SECOND, FAR), (address::SERVER6, FAR6), (SECOND6, FAR6)]
    {
        assert_served(&site, target, source);
    }
    site.finish(&mut agent, &[]);
}

/// The firewall marks what belongs to the second uplink. It does not see the SYN-ACKs of the kernel programs.
#[test]
fn marks_of_the_firewall_route_translated_connections_only() {
    let site = Site::without_captures();
    add_second_uplink(&site);
    let server = &site.net.server;
    for rule in [
        "PREROUTING -i eth1 -p tcp -j CONNMARK --set-mark 2",
        "OUTPUT -p tcp -j CONNMARK --restore-mark",
    ] {
        server.run(&format!("iptables -t mangle -A {rule}"));
    }
    server.ip("rule add fwmark 2 lookup 100");
    let _echo = EchoServer::start(server, "::", 80);
    let mut agent = Agent::start(&site, &guard(HandOff::Translate));
    assert_served(&site, SECOND, FAR);
    assert!(agent.reload(&guard(HandOff::Accept)).contains("in force"));
    site.net.balancer.sysctl("ipv4.tcp_syn_retries", "1");
    let dial = Dial::to(SECOND, 80).from(FAR, 0);
    let error = dial.attempt(&site.net.balancer).expect_err("no SYN-ACK comes");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(agent.counter("syn_answered") > 0);
    site.finish(&mut agent, &[]);
}
