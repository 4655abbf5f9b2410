//! What is configured is what happens.

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, address, eventually, is_reset};

use crate::common::{
    CLIENT, ask_names, assert_both, assert_left_alone, header_of_client, open_and_send, open_for,
    socket_address, trusted_dial, version_1,
};

/// The namespace is named in the file; the agent runs in another one.
#[test]
fn an_agent_serves_another_namespace() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let netns = format!("netns = \"/run/netns/{}\"", site.net.server.name());
    let guard = Guard::ports(&[80]).interface_setting(&netns);
    let mut agent = Agent::start_in(&site.net.client, &site, &guard);
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    let peer = stream.local_addr().unwrap().to_string();
    assert_eq!(agent.ask(&["lookup", &peer, "10.77.1.1:80"]).stdout, CLIENT);
    assert_eq!(agent.wait_event("accept", &peer)["client"], CLIENT);
    site.finish(&mut agent, &[]);
}

/// Other ports and another trusted source after a restart; nothing of the old configuration remains.
#[test]
fn a_restart_takes_a_changed_configuration() {
    let site = Site::new();
    let _echoes = [80, 81].map(|port| EchoServer::start(&site.net.server, address::SERVER, port));
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let before = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&before), socket_address(CLIENT));

    agent.kill();
    agent.configure(&Guard::ports(&[81]).trusting("10.77.1.3/32").setting("versions = [\"v1\"]"));
    agent.start_again();
    assert_left_alone(&site, &trusted_dial(80));
    assert_left_alone(&site, &trusted_dial(81));
    let newly_trusted = Dial::to(address::SERVER, 81).from(address::STRANGER, 0);
    let stream = open_and_send(&site, &newly_trusted, &version_1());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    assert!(is_reset(&open_and_send(&site, &newly_trusted, &header_of_client())));

    // The connection from before is still the client's.
    let found = agent.ask(&["lookup", &before.local_addr().unwrap().to_string(), "10.77.1.1:80"]);
    assert_eq!(found.stdout, CLIENT);
    agent.assert_healthy(&[("version_refused", 1)]);
    site.assert_clean();
}

/// There are more connections than the flow table holds. Programs and the flow log still know the clients. Only
/// lookups of the oldest may fail.
#[test]
fn more_connections_than_the_flow_table_holds() {
    /// The least that may be configured.
    const FLOWS: u32 = 1024;
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80])
        .hand_off(HandOff::Translate)
        .agent_setting(&format!("max_flows = {FLOWS}"));
    let mut agent = Agent::start(&site, &guard);
    let opened: Vec<_> = (0..FLOWS + 200).map(|number| open_for(&site, number)).collect();

    let (newest, client) = opened.last().expect("at least one");
    let found = agent.ask(&["lookup", &newest.local_addr().unwrap().to_string(), "10.77.1.1:80"]);
    assert_eq!((found.code, found.stdout), (0, client.to_string()));
    let count = opened.len();
    let mut clients: Vec<_> = opened.into_iter().map(|(_, client)| client.to_string()).collect();
    agent.wait_counter("closed", count.try_into().expect("a count"));
    let closed = |line: &serde_json::Value| {
        (line["event"] == "close").then(|| line["client"].as_str().unwrap_or_default().to_owned())
    };
    let mut logged = eventually("all close lines in the flow log", || {
        let logged: Vec<_> = agent.flow_log().iter().filter_map(closed).collect();
        (logged.len() >= count).then_some(logged)
    });
    clients.sort_unstable();
    logged.sort_unstable();
    assert_eq!(logged, clients);
    site.finish(&mut agent, &[]);
}
