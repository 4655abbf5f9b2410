//! Who may connect: clients by the addresses in their headers.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};

use proxyip_tests::balancers::HaProxy;
use proxyip_tests::header::{LOCAL, PROXY, aws_health_check, v2, v2_raw};
use proxyip_tests::servers::{AcceptQueue, EchoServer, Nginx};
use proxyip_tests::{
    Agent, Dial, Fetched, Guard, HandOff, Site, address, curl, eventually, is_reset, reset,
};

use crate::common::{
    CLIENT, DESTINATION, DESTINATION6, assert_handed_off, auto_translate_and_observe,
    header_of_client, header_of_client6, open_and_send, socket_address, trusted_dial,
    trusted_dial6,
};

auto_translate_and_observe!(
    clients_on_a_list_get_to_nginx_and_others_leave_no_trace,
    a_program_never_gets_a_denied_connection,
    a_dropped_connection_hangs_and_is_told_of_once,
    a_dropped_connection_that_its_peer_closes_is_never_established,
    the_smallest_network_counts,
    health_checks_pass_and_headers_without_a_client_are_judged_as_clients_on_no_list
);

/// A guard of port 80 that denies [`CLIENT`] and its IPv6 neighbours.
pub(crate) fn denying(hand_off: HandOff) -> Guard {
    Guard::ports(&[80]).hand_off(hand_off).deny("198.51.100.7/32, 2001:db8:5::/64")
}

/// Whether the program behind this connection answers; if not, it is reset.
pub(crate) fn is_served(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(1) => true,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
        other => panic!("neither served nor reset: {other:?}"),
    }
}

/// Whether an `EchoServer` answers after this header.
fn serves(site: &Site, header: Vec<u8>) -> bool {
    is_served(&open_and_send(site, &trusted_dial(80), &[header, b"hello\n".to_vec()].concat()))
}

/// S4: nginx behind `HAProxy` and a list of clients, as one string.
fn clients_on_a_list_get_to_nginx_and_others_leave_no_trace(hand_off: HandOff) {
    let site = Site::new();
    let observe = hand_off == HandOff::Observe;
    let start = if observe { Nginx::proxy_protocol } else { Nginx::plain };
    let nginx = start(&site, 80);
    let _over4 = HaProxy::start(&site, 80, "10.77.1.1:80", "send-proxy-v2");
    let _over6 = HaProxy::start(&site, 8080, "fd00:77:1::1:80", "send-proxy-v2");
    let list = format!("{}/32, {}/128,198.18.0.0/15", address::CLIENT, address::CLIENT6);
    let guard = Guard::ports(&[80]).hand_off(hand_off).allow(&list);
    let mut agent = Agent::start(&site, &guard);

    let fetch = |client: &str| {
        let front = if client.contains(':') { "[2001:db8:c::1]:8080" } else { "203.0.113.1" };
        let fetched = curl(&site, &["--interface", client, &format!("http://{front}/")]);
        assert_eq!(fetched.client.map(|own| own.ip()), client.parse::<IpAddr>().ok());
        fetched
    };
    for (number, client) in [address::CLIENT, address::CLIENT6].into_iter().enumerate() {
        let refused = if number == 0 { address::CLIENT_OTHER } else { address::CLIENT6_OTHER };
        assert_unanswered(&fetch(refused));
        let fetched = fetch(client);
        assert_eq!((fetched.code, fetched.status), (0, 200), "{fetched:?}");
        // Under observe nginx names the load balancer first.
        assert!(fetched.body.ends_with(&fetched.client_words()), "{fetched:?}");
        assert!(observe || fetched.body == fetched.client_words(), "{fetched:?}");
        let line = nginx.access_log_line(number + 1);
        assert_eq!(line, format!("{} 200 \"GET / HTTP/1.1\"", fetched.body));
        assert_unanswered(&fetch(refused));
    }
    assert_handed_off(&agent, hand_off);
    let error_log = eventually("nginx has seen the ends of both connections", || {
        let told = |line: &&String| line.contains(" client ");
        let lines: Vec<_> = nginx.error_log().iter().filter(told).cloned().collect();
        (lines.len() >= 2).then_some(lines)
    });
    assert!(error_log.iter().all(|line| line.contains("closed keepalive")), "{error_log:?}");
    assert_eq!((error_log.len(), nginx.access_log().len()), (2, 2));
    assert_eq!(agent.counter("established"), 2);
    let drops = agent.numbers("drops");
    assert!(drops.get("denied_reset").is_some_and(|count| *count >= 4), "{drops:?}");
    let refused = eventually("a line for each refusal", || {
        let log = agent.flow_log().into_iter().filter(|line| line["event"] == "refuse");
        let refused: Vec<_> = log.collect();
        (refused.len() as u64 >= drops["denied_reset"]).then_some(refused)
    });
    for line in refused {
        let client = line["client"].as_str().expect("a client").parse::<SocketAddr>();
        let ip = client.expect("an address and port").ip().to_string();
        assert!([address::CLIENT_OTHER, address::CLIENT6_OTHER].contains(&&*ip), "{line}");
    }
    // HAProxy may try again, so that there can be more of them than clients.
    site.finish(&mut agent, &[("denied_reset", drops["denied_reset"])]);
}

/// `HAProxy` ends the connection whose server resets it.
fn assert_unanswered(fetched: &Fetched) {
    let (empty_reply, receive_error) = (52, 56);
    assert!([empty_reply, receive_error].contains(&fetched.code), "{fetched:?}");
    assert_eq!((fetched.status, fetched.body.as_str()), (0, ""));
}

fn a_program_never_gets_a_denied_connection(hand_off: HandOff) {
    const EACH: u64 = 5;
    let site = Site::new();
    let queue = AcceptQueue::listen(&site.net.server, 80);
    let mut agent = Agent::start(&site, &denying(hand_off));
    for _ in 0..EACH {
        for (dial, header) in
            [(trusted_dial(80), header_of_client()), (trusted_dial6(80), header_of_client6())]
        {
            let stream = open_and_send(&site, &dial, &[header, b"hello\n".to_vec()].concat());
            assert!(is_reset(&stream));
        }
    }
    // Each would have sent its payload once more if it had not been reset at once.
    site.assert_swift();
    assert!(queue.next().is_none());
    let neighbour = v2(socket_address("198.51.100.8:1"), socket_address(DESTINATION));
    let _stream = open_and_send(&site, &trusted_dial(80), &neighbour);
    eventually("the neighbour's connection", || queue.next());
    assert!(queue.next().is_none());
    site.finish(&mut agent, &[("denied_reset", 2 * EACH)]);
}

fn a_dropped_connection_hangs_and_is_told_of_once(hand_off: HandOff) {
    let site = Site::new();
    let queue = AcceptQueue::listen(&site.net.server, 80);
    let mut agent = Agent::start(&site, &denying(hand_off).denied("drop"));
    for (dial, header) in
        [(trusted_dial(80), header_of_client()), (trusted_dial6(80), header_of_client6())]
    {
        let before = agent.counter("denied_again");
        let stream = open_and_send(&site, &dial, &header);
        let own = stream.local_addr().expect("a bound socket").to_string();
        // Some seconds: a SYN-ACK is repeated meanwhile.
        agent.wait_counter("denied_again", before + 4);
        assert_silent(&stream);
        let event = agent.wait_event("refuse", &own);
        let fields = ["reason", "verdict", "hand_off"].map(|field| event[field].as_str());
        assert_eq!(fields, [Some("denied_dropped"), Some("drop"), Some(hand_off.label())]);
        assert_eq!(event["bytes_received"], header.len(), "{event}");
        reset(stream);
    }
    assert!(queue.next().is_none());
    assert_eq!(agent.flow_log().len(), 2, "{:?}", agent.flow_log());
    site.stop_captures();
    let capture = site.server_capture();
    let answers = capture.count(|sent| sent.source.port() == 80 && (sent.rst() || sent.length > 0));
    assert_eq!(answers, 0);
    let sent = capture.count(|sent| sent.destination.port() == 80 && sent.length > 0);
    assert_eq!(usize::try_from(agent.counter("denied_again")), Ok(sent - 2));
    site.finish(&mut agent, &[("denied_dropped", 2)]);
}

/// Asserts that nothing has come, neither bytes nor an end.
pub(crate) fn assert_silent(mut stream: &TcpStream) {
    stream.set_nonblocking(true).expect("O_NONBLOCK");
    let outcome = stream.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(outcome, Err(ErrorKind::WouldBlock));
}

/// The FIN behind the header that was dropped acknowledges the handshake too.
fn a_dropped_connection_that_its_peer_closes_is_never_established(hand_off: HandOff) {
    let site = Site::new();
    let queue = AcceptQueue::listen(&site.net.server, 80);
    let mut agent = Agent::start(&site, &denying(hand_off).denied("drop"));
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    stream.shutdown(std::net::Shutdown::Write).expect("cannot end the stream");
    agent.wait_counter("out_of_order", 1);
    agent.wait_counter("denied_again", 1);
    assert!(queue.next().is_none());
    assert_eq!(agent.counter("established"), 0);
    reset(stream);
    site.finish(&mut agent, &[("denied_dropped", 1)]);
}

fn the_smallest_network_counts(hand_off: HandOff) {
    let nested = Guard::ports(&[80])
        .allow("10.0.0.0/8, 10.1.1.1/32, 2001:db8::/32, 2001:db8:1:1::1/128")
        .deny("10.1.1.0/24, 2001:db8:1::/48");
    let of_nested = [
        (true, ["10.9.9.9", "10.1.1.1", "10.1.2.2", "::ffff:10.1.1.1"].as_slice()),
        (true, &["2001:db8:2::1", "2001:db8:1:1::1"]),
        (false, &["10.1.1.2", "11.0.0.1", "::ffff:10.1.1.2", "::ffff:11.0.0.1"]),
        (false, &["2001:db8:1:1::2", "2001:db9::1"]),
    ];
    let denying = Guard::ports(&[80]).deny("10.1.1.0/24, 2001:db8:1::/48");
    let of_denying = [
        (true, ["10.1.2.1", "2001:db8:2::1", "::1"].as_slice()),
        (false, &["10.1.1.1", "::ffff:10.1.1.1", "2001:db8:1::1"]),
    ];
    let v4: &[_] = &["10.1.1.1", "::ffff:10.1.1.1"];
    let v6: &[_] = &["2001:db8::1"];
    let cases = [
        (nested, of_nested.as_slice()),
        (denying, &of_denying),
        (Guard::ports(&[80]).allow("::/0"), &[(true, v6), (false, v4)]),
        (Guard::ports(&[80]).allow("0.0.0.0/0"), &[(true, v4), (false, v6)]),
        (Guard::ports(&[80]).deny("::/0"), &[(true, v4), (false, v6)]),
        (Guard::ports(&[80]).allow("::/0, 0.0.0.0/0"), &[(true, v4), (true, v6)]),
    ];
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    for (guard, clients) in cases {
        let mut agent = Agent::start(&site, &guard.clone().hand_off(hand_off));
        for (allowed, clients) in clients {
            for client in *clients {
                let served = serves(&site, header_of(client));
                assert_eq!(served, *allowed, "{client} under {guard:?}");
            }
        }
        let denied = clients.iter().filter(|(allowed, _)| !allowed);
        let denied: u64 = denied.map(|(_, clients)| clients.len() as u64).sum();
        let drops: &[_] = if denied == 0 { &[] } else { &[("denied_reset", denied)] };
        agent.assert_healthy(drops);
    }
    site.assert_clean();
}

/// A version 2 header of the address's own family.
fn header_of(client: &str) -> Vec<u8> {
    let client = SocketAddr::new(client.parse().expect("an IP address"), 51234);
    v2(client, socket_address(if client.is_ipv4() { DESTINATION } else { DESTINATION6 }))
}

fn health_checks_pass_and_headers_without_a_client_are_judged_as_clients_on_no_list(
    hand_off: HandOff,
) {
    let checks = [aws_health_check(), v2_raw(LOCAL, 0, &[])];
    let unix = v2_raw(PROXY, 0x31, &[0; 216]);
    let unknown = [v2_raw(PROXY, 0, &[]), b"PROXY UNKNOWN\r\n".to_vec(), unix];
    let balancer = [header_of(address::BALANCER)];
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    for (guard, passes_unknown, passes_balancer, refused) in [
        (Guard::ports(&[80]).allow("203.0.113.0/24"), false, false, 4),
        (Guard::ports(&[80]).deny("10.77.1.2/32"), true, false, 1),
    ] {
        let mut agent = Agent::start(&site, &guard.hand_off(hand_off));
        for (headers, passes) in
            [(checks.as_slice(), true), (&unknown, passes_unknown), (&balancer, passes_balancer)]
        {
            for header in headers {
                assert_eq!(serves(&site, header.clone()), passes, "{header:?}");
            }
        }
        agent.assert_healthy(&[("denied_reset", refused)]);
    }
    site.assert_clean();
}

/// Sources that are not trusted are no load balancers: nobody's word is taken there, and none is judged.
#[test]
fn sources_that_are_not_trusted_are_not_judged() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let stranger = Dial::to(address::SERVER, 80).from(address::STRANGER, 0);
    for hand_off in [HandOff::Auto, HandOff::Translate, HandOff::Observe] {
        let guard = denying(hand_off);
        let mut agent = Agent::start(&site, &guard);
        let stream = open_and_send(&site, &stranger, &header_of_client());
        assert!(is_served(&stream), "{hand_off:?}");
        assert_eq!(agent.counter("bypassed"), 1);
        agent.assert_healthy(&[]);
        drop(agent);

        let mut agent = Agent::start(&site, &guard.setting("untrusted = \"reset\""));
        let error = stranger.attempt(&site.net.balancer).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{hand_off:?}");
        assert!(!serves(&site, header_of(CLIENT.rsplit_once(':').expect("a port").0)));
        agent.assert_healthy(&[("denied_reset", 1), ("untrusted_reset", 1)]);
    }
    site.assert_clean();
}
