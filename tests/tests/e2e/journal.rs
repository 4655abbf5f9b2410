//! The flow log in the systemd journal.

use proxyip_tests::servers::{EchoServer, Journald};
use proxyip_tests::{Agent, Guard, Site, address, eventually};
use serde_json::Value;

use crate::common::{CLIENT, ask_names, header_of_client, open_and_send, trusted_dial};

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
    journald.pause_listening();
    ask_names(&open_and_send(&site, &trusted_dial(80), &header_of_client()));
    agent.wait_diagnostic("the flow log cannot be written");
    agent.wait_diagnostic("lines of the flow log were lost");
    journald.listen_again();
    ask_names(&open_and_send(&site, &trusted_dial(80), &header_of_client()));
    eventually("entries again", || (!journald.entries("proxyip-flows").is_empty()).then_some(()));
    site.finish(&mut agent, &[]);
}
