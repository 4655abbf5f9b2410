//! OpenSSH, a protocol in which the server speaks first.

use std::io::Read;

use proxyip_tests::balancers::HaProxy;
use proxyip_tests::servers::Sshd;
use proxyip_tests::{Agent, Guard, HandOff, Site, address, header, read_line};

use crate::common::{assert_handed_off, auto_translate_and_multipath, open_and_send, trusted_dial};

auto_translate_and_multipath!(sshd_names_the_client_and_answers_aws_health_checks);

fn sshd_names_the_client_and_answers_aws_health_checks(hand_off: HandOff) {
    let site = Site::under(hand_off);
    let sshd = Sshd::start(&site);
    let _haproxy = HaProxy::start(&site, 22, "10.77.1.1:22", "send-proxy-v2");

    // Without proxyip sshd takes the header for a broken client's greeting.
    let stream = open_and_send(&site, &trusted_dial(22), &header::aws_health_check());
    assert!(read_line(&stream).starts_with("SSH-2.0-"));
    // Not the end of the line: sshd has not read all, so its RST may come instead.
    let mut line = [0; 33];
    (&stream).read_exact(&mut line).expect("a line");
    assert_eq!(&line, b"Invalid SSH identification string");
    let own = stream.local_addr().expect("a bound socket");
    let line = sshd.connection_from(1);
    assert!(line.starts_with(&format!("Connection from 10.77.1.2 port {} ", own.port())), "{line}");

    let mut agent = Agent::start(&site, &Guard::ports(&[22]).hand_off(hand_off));
    // SSH_CLIENT is "ADDRESS PORT SERVER_PORT", from sshd's getpeername().
    let told = sshd.log_in(&site, address::FRONT, "echo $SSH_CLIENT");
    let port = told.split(' ').nth(1).expect("SSH_CLIENT has a port");
    assert_eq!(told.trim(), format!("203.0.113.9 {port} 22"));
    let line = sshd.connection_from(2);
    assert!(line.starts_with(&format!("Connection from 203.0.113.9 port {port} ")), "{line}");

    let stream = open_and_send(&site, &trusted_dial(22), &header::aws_health_check());
    assert!(read_line(&stream).starts_with("SSH-2.0-"));
    let own = stream.local_addr().expect("a bound socket");
    let line = sshd.connection_from(3);
    assert!(line.starts_with(&format!("Connection from 10.77.1.2 port {} ", own.port())), "{line}");
    let event = agent.wait_event("accept", &own.to_string());
    assert_eq!(event["origin"], "local");
    assert_eq!(event["client"], own.to_string());
    assert_handed_off(&agent, hand_off);
    site.finish(&mut agent, &[]);
}
