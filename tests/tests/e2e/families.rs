//! IPv4 and IPv6 in every combination that a socket can express, and in the one that no socket can.

use proxyip_tests::balancers::HaProxy;
use proxyip_tests::servers::{EchoServer, Nginx, PeerNames};
use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, address, curl, header};

use crate::common::{
    CLIENT, DESTINATION6, ask_names, assert_both, auto_and_translate, header_of_client,
    header_of_client6, on_ipv6_socket, open_and_send, socket_address, trusted_dial, trusted_dial6,
};

auto_and_translate!(clients_behind_haproxy, clients_of_both_families_over_both_families);

/// A port for each kind of listener: of IPv6, of both families, of IPv4.
fn clients_behind_haproxy(hand_off: HandOff) {
    let site = Site::new();
    let _ipv6 = EchoServer::start(&site.net.server, address::SERVER6, 81);
    let nginx = Nginx::dual_stack(&site, 80);
    let _ipv4 = EchoServer::start(&site.net.server, address::SERVER, 82);
    let _to_ipv6 = HaProxy::start(&site, 81, "fd00:77:1::1:81", "send-proxy-v2");
    let _to_both = HaProxy::start(&site, 80, "10.77.1.1:80", "send-proxy-v2");
    let _to_ipv4 = HaProxy::start(&site, 82, "10.77.1.1:82", "send-proxy-v2");
    let guard = Guard::ports(&[80]).also_guarding(81).also_guarding(82).hand_off(hand_off);
    let mut agent = Agent::start(&site, &guard);

    let stream = Dial::to(address::FRONT6, 81).open(&site.net.client);
    assert_both(ask_names(&stream), stream.local_addr().expect("a bound socket"));

    let fetched = curl(&site, &["http://203.0.113.1/"]);
    assert_eq!(fetched.body, format!("::ffff:{}", fetched.client_words()));
    assert!(nginx.access_log_line(1).starts_with(&fetched.body));
    assert_eq!(agent.counter("peer_name_inexpressible"), 0);

    // An IPv6 client of an IPv4 socket is found by lookup only.
    let stream = Dial::to(address::FRONT6, 82).open(&site.net.client);
    let PeerNames { accepted, named } = ask_names(&stream);
    assert_eq!((accepted.ip().to_string(), accepted), (address::BALANCER.to_owned(), named));
    assert!(agent.counter("peer_name_inexpressible") >= 1);
    let found = agent.ask(&["lookup", &accepted.to_string(), "10.77.1.1:82"]);
    assert_eq!((found.code, found.stdout), (0, stream.local_addr().unwrap().to_string()));
    site.finish(&mut agent, &[]);
}

/// The client's family is independent of the family of the load balancer's own connection: load balancers translate.
fn clients_of_both_families_over_both_families(hand_off: HandOff) {
    let site = Site::new();
    let _both = EchoServer::start(&site.net.server, "::", 80);
    let _ipv4 = EchoServer::start(&site.net.server, address::SERVER, 81);
    let guard = Guard::ports(&[80]).also_guarding(81).hand_off(hand_off);
    let mut agent = Agent::start(&site, &guard);
    for dial in [trusted_dial(80), trusted_dial6(80)] {
        let stream = open_and_send(&site, &dial, &header_of_client());
        assert_both(ask_names(&stream), on_ipv6_socket(CLIENT));
        let stream = open_and_send(&site, &dial, &header_of_client6());
        assert_both(ask_names(&stream), socket_address(crate::common::CLIENT6));
    }
    // `HAProxy` with one dual-stack `bind` announces its IPv4 clients as IPv4-mapped ones.
    let (client, destination) = (on_ipv6_socket(CLIENT), socket_address(DESTINATION6));
    for header in [header::v1(client, destination), header::v2(client, destination)] {
        let stream = open_and_send(&site, &trusted_dial(81), &header);
        assert_both(ask_names(&stream), socket_address(CLIENT));
    }
    assert_eq!(agent.counter("peer_name_inexpressible"), 0);
    site.finish(&mut agent, &[]);
}
