//! Connections of the load balancer's own that no list denies: health checks with version 1, `PROXY UNKNOWN`, and no
//! header at all.

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use proxyip_tests::header::v1;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Site, address, eventually, is_reset};
use serde_json::Value;

use crate::common::{
    CLIENT, DESTINATION, assert_both, assert_echoed, auto_and_translate, expect_names,
    header_of_client, open_and_send, pattern, socket_address, trusted_dial,
};

auto_and_translate!(no_list_denies_the_load_balancer_itself);

const QUESTION: &[u8] = b"who am I?\n";

/// The lists allow one client, and deny everybody else.
fn no_list_denies_the_load_balancer_itself(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).hand_off(hand_off).allow("198.51.100.7/32");
    let guard = guard.setting("unknown = \"local\"").setting("headerless = \"local\"");
    let mut agent = Agent::start(&site, &guard);
    let server = socket_address("10.77.1.1:80");

    let mut check = trusted_dial(80).open(&site.net.balancer);
    let own = check.local_addr().expect("a bound socket");
    check.write_all(&[v1(own, server), QUESTION.to_vec()].concat()).expect("cannot send");
    assert_both(expect_names(&check), own);

    for header in [&b"PROXY UNKNOWN\r\n"[..], b""] {
        let stream = open_and_send(&site, &trusted_dial(80), &[header, QUESTION].concat());
        assert_both(expect_names(&stream), stream.local_addr().expect("a bound socket"));
        assert_echoed(&stream, &pattern(100_000));
    }

    // An empty line might have begun a header, and is sent again.
    let mut stream = open_and_send(&site, &trusted_dial(80), b"\r\n");
    stream.set_nodelay(true).expect("a living socket");
    sleep(Duration::from_millis(20));
    stream.write_all(b"GET / HTTP/1.0\r\n").expect("cannot send");
    let (names, line) = proxyip_tests::servers::PeerNames::read(&stream);
    assert_both(names, stream.local_addr().expect("a bound socket"));
    assert_eq!(line, r#""\r""#, "the first line that the server read");

    // The lists judge the clients of headers as ever.
    let allowed = [header_of_client(), QUESTION.to_vec()].concat();
    let stream = open_and_send(&site, &trusted_dial(80), &allowed);
    assert_both(expect_names(&stream), socket_address(CLIENT));
    let denied = v1(socket_address("198.51.100.8:1"), socket_address(DESTINATION));
    assert!(is_reset(&open_and_send(&site, &trusted_dial(80), &denied)));

    let log = eventually("a line for each connection", || {
        let is_accept = |line: &Value| line["event"] == "accept";
        let log: Vec<_> = agent.flow_log().into_iter().filter(is_accept).collect();
        (log.len() == 5).then_some(log)
    });
    let kinds: Vec<_> = log.iter().map(|line| (&line["origin"], &line["version"])).collect();
    for (origin, version, count) in [("local", "v1", 2), ("local", "none", 2), ("proxied", "v2", 1)]
    {
        let found = kinds.iter().filter(|kind| **kind == (&origin.into(), &version.into()));
        assert_eq!(found.count(), count, "{origin}, {version}: {log:?}");
    }
    site.finish(&mut agent, &[("denied_reset", 1)]);
}
