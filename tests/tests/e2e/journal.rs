//! The flow log in the systemd journal.

use std::thread::{self, sleep};
use std::time::Duration;

use proxyip_tests::servers::{EchoServer, Journald};
use proxyip_tests::{Agent, Guard, Site, address, eventually};
use serde_json::Value;

use crate::common::{CLIENT, ask_names, header_of_client, open_and_send, open_for, trusted_dial};

#[test]
fn each_line_is_an_entry() {
    let site = Site::without_captures();
    let journald = Journald::start(&site);
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).log_setting("to = \"journald\"");
    let mut agent = Agent::start_beside(&journald, &site, &guard);
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    ask_names(&stream);
    drop(stream);
    let entries = eventually("two entries of the journal", || {
        Some(journald.entries("proxyip-flows")).filter(|entries| entries.len() == 2)
    });
    for (entry, event) in entries.iter().zip(["accept", "close"]) {
        let message = entry["MESSAGE"].as_str().expect("a text");
        let line: Value = serde_json::from_str(message).expect("a line of the flow log");
        assert_eq!((&line["event"], &line["client"]), (&event.into(), &CLIENT.into()));
        assert_eq!(entry["PRIORITY"], "6");
        for field in ["event", "verdict", "listener", "client", "destination", "peer", "local"] {
            assert_eq!(entry[field.to_uppercase()], line[field], "{field}: {entry}");
        }
        assert_eq!(entry["_PID"], agent.process().pid().to_string());
    }
    assert_eq!(agent.process().stdout(), "", "nothing on standard output");
    site.finish(&mut agent, &[]);
}

#[test]
fn a_journal_that_ends_and_comes_back_loses_what_is_counted() {
    let site = Site::without_captures();
    let journald = Journald::start(&site);
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).log_setting("to = \"journald\"");
    let mut agent = Agent::start_beside(&journald, &site, &guard);
    let connections = |count: u64| {
        for number in 0..count {
            open_for(&site, number.try_into().expect("a small number"));
        }
    };
    journald.pause_listening();
    connections(5);
    agent.wait_diagnostic("the flow log cannot be written");
    agent.wait_diagnostic("lines of the flow log were lost");
    // Lines come without a pause meanwhile, so that a batch that is written at once loses some of its lines.
    thread::scope(|scope| {
        let connecting = scope.spawn(|| connections(300));
        sleep(Duration::from_millis(50));
        journald.listen_again();
        connecting.join().expect("connections are made");
    });
    // Each connection has two lines. Each line is an entry, or counted as lost.
    agent.wait_counter("closed", 305);
    eventually("all lines are accounted for", || {
        let entries = journald.entries("proxyip-flows").len() as u64;
        (entries > 0 && entries + lost_lines(&agent) == 2 * 305).then_some(())
    });
    site.finish(&mut agent, &[]);
}

fn lost_lines(agent: &Agent) -> u64 {
    let metrics = agent.api().reply("GET", "/metrics").body;
    let metrics = String::from_utf8(metrics).expect("text");
    let lost =
        metrics.lines().find_map(|line| line.strip_prefix("proxyip_flow_log_lost_lines_total "));
    lost.and_then(|number| number.parse().ok()).expect("a number")
}
