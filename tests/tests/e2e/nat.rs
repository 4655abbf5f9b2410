//! Rules of NAT that redirect a guarded port: its connections are another socket's, and are left alone.

use std::time::Duration;

use proxyip_tests::servers::{EchoServer, PeerNames};
use proxyip_tests::{Agent, Guard, HandOff, Site};

use crate::common::{
    ask_names, auto_and_translate, header_of_client, open_and_send, trusted_dial, trusted_dial6,
    version_1,
};

auto_and_translate!(a_redirected_port_is_left_alone);

/// The port of a sidecar, which reads headers itself.
const SIDECAR: u16 = 15_006;

fn a_redirected_port_is_left_alone(hand_off: HandOff) {
    let site = Site::new();
    let application = EchoServer::start(&site.net.server, "::", 80);
    let sidecar = EchoServer::start(&site.net.server, "::", SIDECAR);
    let _other = EchoServer::start(&site.net.server, "::", 81);
    let server = &site.net.server;
    for iptables in ["iptables", "ip6tables"] {
        server.run(&format!(
            "{iptables} -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports {SIDECAR}"
        ));
    }
    let mut agent = Agent::start(&site, &Guard::ports(&[80, 81]).hand_off(hand_off));
    for dial in [trusted_dial(80), trusted_dial6(80)] {
        for _ in 0..3 {
            let stream = open_and_send(&site, &dial, &version_1());
            let (_, line) = PeerNames::read(&stream);
            assert!(line.starts_with("\"PROXY TCP4 "), "{line}");
        }
    }
    assert_eq!(agent.numbers("left_to_kernel"), [("redirected".to_owned(), 6)].into());
    for family in ["IPv4", "IPv6"] {
        agent.wait_diagnostic(&format!(
            "NAT gives connections to port 80 of listener \"web\" ({family}"
        ));
    }
    let named = agent.status().findings.concat();
    assert_eq!(named.matches("NAT gives connections to port 80").count(), 2, "{named}");
    // Another port of the listener is served, from its first connection on.
    for dial in [trusted_dial(81), trusted_dial6(81)] {
        for _ in 0..3 {
            let stream = open_and_send(&site, &dial, &header_of_client());
            assert_eq!(ask_names(&stream).named.port(), 51234);
        }
    }
    drop((application, sidecar));
    // Without the rules the port is guarded again.
    for iptables in ["iptables", "ip6tables"] {
        server.run(&format!("{iptables} -t nat -F PREROUTING"));
    }
    let _application = EchoServer::start(&site.net.server, "::", 80);
    std::thread::sleep(Duration::from_millis(1500));
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_eq!(ask_names(&stream).named.port(), 51234);
    site.finish(&mut agent, &[]);
}
