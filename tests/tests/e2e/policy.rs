//! Who may connect: clients by the addresses in their headers.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};

use proxyip_tests::balancers::HaProxy;
use proxyip_tests::header::v2;
use proxyip_tests::servers::{AcceptQueue, EchoServer, Nginx};
use proxyip_tests::{
    Agent, Dial, Fetched, Guard, HandOff, Site, address, curl, eventually, is_reset, reset,
};

use crate::common::{
    CLIENT, DESTINATION, DESTINATION6, assert_handed_off, auto_translate_and_observe,
    header_of_client, header_of_client6, open_and_send, socket_address, trusted_dial,
    trusted_dial6,
};

auto_translate_and_observe!(clients_on_a_list_get_to_nginx_and_others_leave_no_trace);

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
    let site = Site::without_captures();
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

/// `HAProxy` ends a connection that its server resets.
fn assert_unanswered(fetched: &Fetched) {
    let (empty_reply, receive_error) = (52, 56);
    assert!([empty_reply, receive_error].contains(&fetched.code), "{fetched:?}");
    assert_eq!((fetched.status, fetched.body.as_str()), (0, ""));
}

#[test]
fn a_program_never_gets_a_denied_connection() {
    for hand_off in [HandOff::Auto, HandOff::Translate, HandOff::Observe] {
        never_gets_a_denied_connection(hand_off);
    }
}

fn never_gets_a_denied_connection(hand_off: HandOff) {
    const EACH: u64 = 5;
    let site = Site::without_captures();
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
    // Each was reset at once. Otherwise it would have sent its payload again.
    site.assert_swift();
    assert!(queue.next().is_none());
    let neighbour = v2(socket_address("198.51.100.8:1"), socket_address(DESTINATION));
    let _stream = open_and_send(&site, &trusted_dial(80), &neighbour);
    eventually("the neighbour's connection", || queue.next());
    assert!(queue.next().is_none());
    site.finish(&mut agent, &[("denied_reset", 2 * EACH)]);
}

/// The kernel repeats its SYN-ACK meanwhile.
#[test]
fn a_dropped_connection_hangs_and_is_told_of_once() {
    for hand_off in [HandOff::Translate, HandOff::Observe] {
        hangs_and_is_told_of_once(hand_off);
    }
}

fn hangs_and_is_told_of_once(hand_off: HandOff) {
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

/// Asserts that nothing has come: no bytes, and no end.
pub(crate) fn assert_silent(mut stream: &TcpStream) {
    stream.set_nonblocking(true).expect("O_NONBLOCK");
    let outcome = stream.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(outcome, Err(ErrorKind::WouldBlock));
}

/// A version 2 header of the address's own family.
fn header_of(client: &str) -> Vec<u8> {
    let client = SocketAddr::new(client.parse().expect("an IP address"), 51234);
    v2(client, socket_address(if client.is_ipv4() { DESTINATION } else { DESTINATION6 }))
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
