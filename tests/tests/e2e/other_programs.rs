//! Other software's programs on the same hooks.

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, FlagTaker, Guard, HandOff, Site, address, eventually};

use crate::common::{
    CLIENT, ask_names, assert_both, assert_echoed, header_of_client, open_and_send, pattern,
    socket_address, trusted_dial,
};

/// The kernel programs do not hear of the ends of connections. Without the agent's own look the tables would fill, and
/// new connections be refused.
#[test]
fn ends_that_another_program_hides_are_found() {
    const PORTS: [u16; 2] = [FlagTaker::PORT, FlagTaker::PORT + 1];
    let site = Site::new();
    let _servers = PORTS.map(|port| EchoServer::start(&site.net.server, address::SERVER, port));
    let translate = Guard::ports(&[PORTS[0]]).named("translated").hand_off(HandOff::Translate);
    let accept = Guard::ports(&[PORTS[1]]).named("accepted").hand_off(HandOff::Accept);
    let mut agent = Agent::start(&site, &translate.with(&accept));
    let _other = FlagTaker::start();
    let open = |port| {
        let stream = open_and_send(&site, &trusted_dial(port), &header_of_client());
        assert_both(ask_names(&stream), socket_address(CLIENT));
        stream
    };
    let living = PORTS.map(open);
    drop([PORTS.map(open), PORTS.map(open)]);
    let flows = |agent: &Agent| {
        let status = agent.status();
        (status.flows, status.translated)
    };
    assert_eq!(flows(&agent), (6, 3), "their ends are not noticed");
    eventually("they are found", || (flows(&agent) == (2, 1)).then_some(()));
    let line = agent.wait_diagnostic("taker_of_flags");
    assert!(line.contains("overwrites the callback flags"), "{line}");
    let findings = agent.status().findings.concat();
    assert!(findings.contains("taker_of_flags"), "{findings}");
    for stream in &living {
        assert_echoed(stream, &pattern(1000));
    }
    site.finish(&mut agent, &[]);
}
