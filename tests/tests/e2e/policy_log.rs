//! What the agent reports about denied clients, and about allowed ones.

use std::io::Write;
use std::time::SystemTime;

use proxyip_tests::header::{v1, v2};
use proxyip_tests::servers::{AcceptQueue, EchoServer};
use proxyip_tests::{
    Agent, CapturedSegment, HandOff, Site, address, eventually, is_reset, read_line, reset,
};

use crate::common::{
    CLIENT, CLIENT6, DESTINATION, assert_echoed, auto_translate_and_observe, header_of_client,
    header_of_client6, open_and_send, pattern, socket_address, trusted_dial, trusted_dial6,
};
use crate::policy::{denying, is_served};

auto_translate_and_observe!(
    a_refused_client_in_the_flow_log_and_the_status,
    records_of_refused_and_of_closed_connections
);

fn a_refused_client_in_the_flow_log_and_the_status(hand_off: HandOff) {
    let site = Site::without_captures();
    let _queue = AcceptQueue::listen(&site.net.server, 80);
    let mut agent = Agent::start(&site, &denying(hand_off));
    let payload = b"GET / HTTP/1.0\r\n\r\n";
    for (dial, header, client, local) in [
        (trusted_dial(80), header_of_client(), CLIENT, "10.77.1.1:80"),
        (trusted_dial6(80), header_of_client6(), CLIENT6, "[fd00:77:1::1]:80"),
    ] {
        let stream = open_and_send(&site, &dial, &[header.clone(), payload.to_vec()].concat());
        assert!(is_reset(&stream));
        let own = stream.local_addr().expect("a bound socket").to_string();
        let mut line = agent.wait_event("refuse", &own);
        let fields = line.as_object_mut().expect("an object");
        let times = ["time", "start", "end"].map(|field| fields.remove(field).expect("a time"));
        assert!(times.iter().all(|time| *time == times[0]), "{times:?}");
        let destination = if client == CLIENT { DESTINATION } else { "[2001:db8:2::1]:443" };
        let expected = serde_json::json!({
            "event": "refuse", "verdict": "reset", "reason": "denied_reset", "listener": "web",
            "hand_off": hand_off.label(), "origin": "proxied", "version": "v2", "client": client,
            "destination": destination, "peer": own, "local": local,
            "packets_received": 1, "bytes_received": header.len() + payload.len(),
        });
        assert_eq!(line, expected);
    }
    assert_eq!(agent.flow_log().len(), 2, "{:?}", agent.flow_log());
    assert_eq!(agent.flows(), []);
    for counter in ["handed_over", "established", "closed", "marked"] {
        assert_eq!(agent.counter(counter), 0, "{counter}");
    }
    site.finish(&mut agent, &[("denied_reset", 2)]);
}

#[test]
fn a_marked_connection_is_served() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    site.net.server.run("iptables -A INPUT -p tcp --dport 80 -m mark --mark 0x50/0x50 -j ACCEPT");
    let mut agent =
        Agent::start(&site, &denying(HandOff::Observe).denied("mark").setting("mark = 0x50"));
    let marked = || {
        let rules = site.net.server.run("iptables -nvxL INPUT");
        let rule = rules.lines().find(|line| line.contains("ACCEPT") && line.contains("0x50"));
        let packets = rule.and_then(|rule| rule.split_whitespace().next()?.parse::<u64>().ok());
        packets.expect("the rule's packets")
    };
    let allowed = v2(socket_address("198.51.100.8:51234"), socket_address(DESTINATION));
    for (header, verdict) in [(allowed, "accept"), (header_of_client(), "mark")] {
        let mut stream = open_and_send(&site, &trusted_dial(80), &header);
        stream.write_all(b"hello\n").expect("cannot send");
        assert!(is_served(&stream));
        let own = stream.local_addr().expect("a bound socket").to_string();
        assert_eq!(agent.wait_event("accept", &own)["verdict"], verdict);
        let packets = marked();
        reset(stream);
        let close = agent.wait_event("close", &own);
        assert_eq!((&close["verdict"], packets > 0), (&verdict.into(), verdict == "mark"));
    }
    assert_eq!(agent.counter("marked"), 1);
    site.finish(&mut agent, &[]);
}

/// One record of a VPC flow log.
struct Record {
    /// `ADDRESS ADDRESS PORT PORT`.
    ends: String,
    packets: usize,
    bytes: usize,
    start: u64,
    end: u64,
    action: String,
}

impl Record {
    fn parse(line: &str) -> Self {
        let fields: Vec<_> = line.split(' ').collect();
        assert_eq!(fields.len(), 14, "{line}");
        assert_eq!((&fields[..3], fields[7], fields[13]), (&["2", "-", "-"][..], "6", "OK"));
        let number = |field: usize| fields[field].parse::<u64>().expect("a number");
        let count = |field| usize::try_from(number(field)).expect("a count");
        Self {
            ends: fields[3..7].join(" "),
            packets: count(8),
            bytes: count(9),
            start: number(10),
            end: number(11),
            action: fields[12].to_owned(),
        }
    }
}

fn records_of_refused_and_of_closed_connections(hand_off: HandOff) {
    const LENGTH: usize = 100_000;
    let seconds = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.expect("a time after 1970").as_secs()
    };
    let begun = seconds();
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &denying(hand_off).vpc_log());
    let denied = [header_of_client(), b"hello\n".to_vec()].concat();
    assert!(is_reset(&open_and_send(&site, &trusted_dial(80), &denied)));

    let allowed = "198.51.100.8:1234";
    let header = v1(socket_address(allowed), socket_address(DESTINATION));
    // Under observe the header is the first line.
    let observe = hand_off == HandOff::Observe;
    let question: &[u8] = if observe { b"" } else { b"hello\n" };
    let stream = open_and_send(&site, &trusted_dial(80), &[&header, question].concat());
    let answer = read_line(&stream).len() + 1;
    assert_echoed(&stream, &pattern(LENGTH));
    drop(stream);

    let records = eventually("three records", || {
        let text = agent.process().stdout();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let records: Vec<_> = whole.lines().map(Record::parse).collect();
        (records.len() >= 3).then_some(records)
    });
    let [refused, received, sent] = records.as_slice() else { panic!("{} records", records.len()) };
    assert_eq!(refused.ends, "198.51.100.7 10.77.1.1 51234 80");
    assert_eq!((refused.packets, refused.bytes), (1, denied.len()));
    assert_eq!(received.ends, "198.51.100.8 10.77.1.1 1234 80");
    assert_eq!(sent.ends, "10.77.1.1 198.51.100.8 80 1234");
    let consumed = if observe { 0 } else { header.len() };
    assert_eq!(received.bytes, header.len() + question.len() + LENGTH - consumed);
    assert_eq!(sent.bytes, answer + LENGTH);
    let actions = [refused, received, sent].map(|record| record.action.as_str());
    assert_eq!(actions, ["REJECT", "ACCEPT", "ACCEPT"]);
    let ended = seconds();
    for record in &records {
        let times = [begun, record.start, record.end, ended];
        assert!(times.is_sorted(), "{times:?}");
    }
    site.stop_captures();
    let from_client = |segment: &CapturedSegment| segment.destination.port() == 80;
    let from_server = |segment: &CapturedSegment| segment.source.port() == 80;
    let captured =
        [site.server_capture().count(from_client), site.server_capture().count(from_server)];
    for (record, captured) in [received, sent].into_iter().zip(captured) {
        // The handshake is not counted, and the refused connection is another.
        assert!((LENGTH / 1460..=captured).contains(&record.packets), "{}", record.packets);
    }
    site.finish(&mut agent, &[("denied_reset", 1)]);
}
