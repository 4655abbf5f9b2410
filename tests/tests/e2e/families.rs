//! IPv4 and IPv6 in every combination that a socket can express, and the one that it cannot.

use proxyip_tests::balancers::HaProxy;
use proxyip_tests::servers::{EchoServer, Nginx, PeerNames};
use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, address, curl, header};

use crate::common::{
    CLIENT, DESTINATION6, ask_names, assert_both, auto_and_translate, header_of_client,
    header_of_client6, on_ipv6_socket, open_and_send, socket_address, trusted_dial, trusted_dial6,
};

auto_and_translate!(
    ipv6_client_of_an_ipv6_listener,
    ipv4_client_of_a_dual_stack_listener,
    clients_of_both_families_over_both_families_to_a_dual_stack_listener,
    ipv6_client_of_an_ipv4_listener_is_found_by_lookup_only,
    an_ipv4_mapped_client_is_an_ipv4_client
);

fn ipv6_client_of_an_ipv6_listener(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER6, 80);
    let _haproxy = HaProxy::start(&site, 80, "fd00:77:1::1:80", "send-proxy-v2");
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let stream = Dial::to(address::FRONT6, 80).open(&site.net.client);
    assert_both(ask_names(&stream), stream.local_addr().expect("a bound socket"));
    site.finish(&mut agent, &[]);
}

fn ipv4_client_of_a_dual_stack_listener(hand_off: HandOff) {
    let site = Site::new();
    let nginx = Nginx::dual_stack(&site, 80);
    let _haproxy = HaProxy::start(&site, 80, "10.77.1.1:80", "send-proxy-v2");
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let fetched = curl(&site, &["http://203.0.113.1/"]);
    assert_eq!(fetched.body, format!("::ffff:{}", fetched.client_words()));
    assert!(nginx.access_log_line(1).starts_with(&fetched.body));
    site.finish(&mut agent, &[]);
}

/// The client's family and that of the load balancer's own connection have nothing to do with each
/// other: load balancers translate.
fn clients_of_both_families_over_both_families_to_a_dual_stack_listener(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    for dial in [trusted_dial(80), trusted_dial6(80)] {
        let stream = open_and_send(&site, &dial, &header_of_client());
        assert_both(ask_names(&stream), on_ipv6_socket(CLIENT));
        let stream = open_and_send(&site, &dial, &header_of_client6());
        assert_both(ask_names(&stream), socket_address(crate::common::CLIENT6));
    }
    assert_eq!(agent.counter("peer_name_inexpressible"), 0);
    site.finish(&mut agent, &[]);
}

fn ipv6_client_of_an_ipv4_listener_is_found_by_lookup_only(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let _haproxy = HaProxy::start(&site, 80, "10.77.1.1:80", "send-proxy-v2");
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let stream = Dial::to(address::FRONT6, 80).open(&site.net.client);
    let PeerNames { accepted, named } = ask_names(&stream);
    assert_eq!((accepted.ip().to_string(), accepted), (address::BALANCER.to_owned(), named));
    assert!(agent.counter("peer_name_inexpressible") >= 1);
    let found = agent.ask(&["lookup", &accepted.to_string(), "10.77.1.1:80"]);
    assert_eq!((found.code, found.stdout), (0, stream.local_addr().unwrap().to_string()));
    site.finish(&mut agent, &[]);
}

/// `HAProxy` with one dual-stack `bind` announces its IPv4 clients like this.
fn an_ipv4_mapped_client_is_an_ipv4_client(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let (client, destination) = (on_ipv6_socket(CLIENT), socket_address(DESTINATION6));
    for header in [header::v1(client, destination), header::v2(client, destination)] {
        let stream = open_and_send(&site, &trusted_dial(80), &header);
        assert_both(ask_names(&stream), socket_address(CLIENT));
    }
    site.finish(&mut agent, &[]);
}
