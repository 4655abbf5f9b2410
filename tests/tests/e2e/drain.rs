//! `proxyip listener drain`: new connections are refused, established ones go on.

use std::io::ErrorKind;

use nix::sys::signal::Signal;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Site, address};

use crate::common::{ask_names, exchange, header_of_client, open_and_send, trusted_dial};

fn assert_refused(site: &Site, port: u16) {
    let error = trusted_dial(port).attempt(&site.net.balancer).expect_err("a RST");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "port {port}");
}

fn assert_done(agent: &Agent, arguments: &[&str]) -> String {
    let answer = agent.ask(arguments);
    assert_eq!(answer.code, 0, "{arguments:?}: {answer:?}");
    answer.stdout
}

#[test]
fn a_drained_listener_keeps_its_connections_and_refuses_new_ones() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let _other = EchoServer::start(&site.net.server, address::SERVER, 81);
    let translated = Guard::ports(&[81]).named("other").hand_off(HandOff::Translate);
    let guard = Guard::ports(&[80, 82]).named("web").with(&translated);
    let mut agent = Agent::start(&site, &guard);
    let open = |port| {
        let stream = open_and_send(&site, &trusted_dial(port), &header_of_client());
        ask_names(&stream);
        stream
    };
    let living = [80, 81].map(open);
    living.iter().for_each(exchange);

    let said = assert_done(&agent, &["listener", "drain", "web", "--port", "80"]);
    for part in ["established ones go on: ports 80\n", "`proxyip listener resume web`"] {
        assert!(said.contains(part), "{said}");
    }
    assert_done(&agent, &["listener", "drain", "other"]);
    for port in [80, 81] {
        assert_refused(&site, port);
    }
    living.iter().for_each(exchange);
    let ready = agent.api().get("/readyz");
    assert_eq!(ready["drained"], serde_json::json!(["web", "other"]), "{ready}");

    // Neither a restart nor a reload takes new connections.
    agent.process().signal(Signal::SIGTERM);
    agent.process().wait();
    assert_refused(&site, 80);
    agent.start_again();
    assert!(agent.reload(&guard.setting("versions = [\"v1\", \"v2\"]")).contains("in force"));
    for port in [80, 81] {
        assert_refused(&site, port);
    }
    assert_eq!(agent.listener().drained, [80]);

    let whole = agent.ask(&["listener", "resume", "other", "--port", "81"]);
    assert!(whole.code == 1 && whole.stderr.contains("without a port"), "{whole:?}");
    assert_done(&agent, &["listener", "resume", "other"]);
    assert_done(&agent, &["listener", "resume", "web"]);
    [80, 81].map(open).iter().for_each(exchange);
    living.iter().for_each(exchange);
    site.finish(&mut agent, &[("drained", 5)]);
}
