//! What the flow log says about connections.

use std::thread::sleep;
use std::time::Duration;

use proxyip_tests::balancers::HaProxy;
use proxyip_tests::servers::{EchoServer, Nginx, RubyEcho};
use proxyip_tests::{Agent, Guard, HandOff, Site, address, curl, eventually, read_rest};
use serde_json::Value;

use crate::common::{
    CLIENT, DESTINATION, ask_names, assert_both, assert_echoed, auto_and_translate,
    header_of_client, open_and_send, pattern, socket_address, trusted_dial,
};

auto_and_translate!(
    accept_and_close_lines_of_a_request_through_haproxy,
    bytes_and_duration_of_connections,
    a_log_that_is_switched_on_has_the_end_of_what_was_there
);

fn accept_and_close_lines_of_a_request_through_haproxy(hand_off: HandOff) {
    let site = Site::without_captures();
    let _nginx = Nginx::plain(&site, 80);
    let _haproxy = HaProxy::start(&site, 80, "10.77.1.1:80", "send-proxy-v2");
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let fetched = curl(&site, &["-H", "X-Padding: 0123456789", "http://203.0.113.1/"]);
    assert_eq!(fetched.status, 200);
    let log = eventually("two lines of the flow log", || {
        Some(agent.flow_log()).filter(|log| log.len() >= 2)
    });
    let [accept, close] = log.as_slice() else { panic!("flow log: {log:?}") };
    for line in [accept, close] {
        assert_eq!(line["client"], fetched.client.unwrap().to_string(), "{line}");
        assert_eq!(line["destination"], "203.0.113.1:80");
        assert_eq!(line["local"], "10.77.1.1:80");
        assert!(line["peer"].as_str().unwrap().starts_with("10.77.1.2:"));
        let fields = ["listener", "hand_off", "verdict", "origin", "version"];
        let values = fields.map(|field| line[field].as_str().unwrap_or_default());
        assert_eq!(values, ["web", hand_off.label(), "accept", "proxied", "v2"]);
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(line["tlvs"], Value::Null);
    }
    assert_eq!((&accept["event"], &close["event"]), (&"accept".into(), &"close".into()));
    site.finish(&mut agent, &[]);
}

fn bytes_and_duration_of_connections(hand_off: HandOff) {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let _ruby = RubyEcho::start(&site, address::SERVER, 7);
    let mut agent = Agent::start(&site, &Guard::ports(&[80, 7]).hand_off(hand_off));
    the_client_closes(&site, &agent);
    the_server_closes(&site, &agent);
    site.finish(&mut agent, &[]);
}

fn the_client_closes(site: &Site, agent: &Agent) {
    const LENGTH: usize = 250_000;
    let stream = open_and_send(site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_echoed(&stream, &pattern(LENGTH));
    let peer = stream.local_addr().unwrap().to_string();
    drop(stream);
    let close = agent.wait_event("close", &peer);
    // The header is none of the payload; the question and the answer are.
    let answer = format!("{CLIENT} {CLIENT} \"who am I?\"\n").len();
    assert_eq!(close["bytes_received"], LENGTH + "who am I?\n".len(), "{close}");
    assert_eq!(close["bytes_sent"], LENGTH + answer, "{close}");
    let duration = close["duration_ms"].as_u64().expect("a number");
    assert!((300..20_000).contains(&duration), "{close}");
}

/// The server's socket ends in TIME_WAIT.
fn the_server_closes(site: &Site, agent: &Agent) {
    let first = [header_of_client(), b"hello\n".to_vec()].concat();
    // The client's FIN finds the server's socket at once, or when it is in TIME_WAIT already.
    for delay in [Duration::ZERO, Duration::from_millis(300)] {
        let stream = open_and_send(site, &trusted_dial(7), &first);
        let answer = read_rest(&stream);
        let peer = stream.local_addr().unwrap().to_string();
        sleep(delay);
        drop(stream);
        let close = agent.wait_event("close", &peer);
        assert_eq!(close["bytes_received"], "hello\n".len(), "{close}");
        assert_eq!(close["bytes_sent"], answer.len(), "{close}");
    }
}

/// The kernel programs do not send what nobody logs, until somebody does.
fn a_log_that_is_switched_on_has_the_end_of_what_was_there(hand_off: HandOff) {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = || Guard::ports(&[80]).hand_off(hand_off);
    let mut agent = Agent::start(&site, &guard().without_flow_log());
    let open = || {
        let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
        assert_both(ask_names(&stream), socket_address(CLIENT));
        let peer = stream.local_addr().expect("a bound socket").to_string();
        (stream, peer)
    };
    // The agent looks for events less often by now, so that some wait for it when the log is switched on.
    sleep(Duration::from_millis(1500));
    let (unseen, nobody) = open();
    let (stream, peer) = open();
    drop(unseen);
    agent.wait_counter("closed", 1);
    assert!(agent.reload(&guard()).contains("in force as it is now"));
    let (later, new) = open();
    agent.wait_event("accept", &new);
    drop(stream);
    let close = agent.wait_event("close", &peer);
    assert_eq!((&close["client"], &close["verdict"]), (&CLIENT.into(), &"accept".into()));
    assert_eq!(close["bytes_received"], "who am I?\n".len(), "{close}");
    assert!(close["duration_ms"].as_u64().is_some_and(|lasted| lasted > 0), "{close}");
    drop(later);
    agent.wait_event("close", &new);
    let log = agent.flow_log();
    assert_eq!(log.len(), 3, "{log:?}");
    assert!(log.iter().all(|line| line["peer"] != nobody), "{log:?}");
    site.finish(&mut agent, &[]);
}

#[test]
fn lookup_and_flows_know_living_connections() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    ask_names(&stream);
    let peer = stream.local_addr().unwrap().to_string();
    let lookup = ["lookup", &peer, "10.77.1.1:80"];

    let found = agent.ask(&lookup);
    assert_eq!((found.code, found.stdout.as_str()), (0, CLIENT));
    let found: Value = agent.json(&lookup);
    assert_eq!((&found["client"], &found["destination"]), (&CLIENT.into(), &DESTINATION.into()));
    assert_eq!((&found["event"], &found["time"]), (&Value::Null, &Value::Null));

    let flows: Value = agent.json(&["flows"]);
    let [flow] = flows.as_array().expect("an array").as_slice() else { panic!("flows: {flows}") };
    assert_eq!(flow["client"], CLIENT);
    assert_eq!(flow["peer"], peer);
    let table = agent.ask(&["flows"]);
    assert!(table.code == 0 && table.stdout.contains(CLIENT) && table.stdout.contains(&peer));
    assert_eq!(agent.status().flows, 1);

    drop(stream);
    agent.wait_counter("closed", 1);
    eventually("the flow is gone", || (agent.ask(&lookup).code == 1).then_some(()));
    assert_eq!(agent.flows(), []);
    lookup_exit_codes(&agent);
    site.finish(&mut agent, &[]);
}

fn lookup_exit_codes(agent: &Agent) {
    assert_eq!(agent.ask(&["lookup", "10.77.1.2:1", "10.77.1.1:80"]).code, 1);
    let malformed = agent.ask(&["lookup", "10.77.1.2", "10.77.1.1:80"]);
    assert_eq!(malformed.code, 2, "{malformed:?}");
    let nowhere = ["lookup", "10.77.1.2:1", "10.77.1.1:80", "--socket", "/nonexistent/api.sock"];
    let unreachable = agent.ask(&nowhere);
    assert_eq!(unreachable.code, 2, "{unreachable:?}");
    assert!(unreachable.stderr.contains("/nonexistent/api.sock"), "{unreachable:?}");
}
