//! A Ruby echo server behind load balancers that speak version 1.

use proxyip_tests::balancers::{HaProxy, NginxStream};
use proxyip_tests::servers::RubyEcho;
use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, address, read_line};

use crate::common::{assert_handed_off, auto_translate_and_multipath, trusted_dial};

auto_translate_and_multipath!(ruby_sees_the_client);

/// The port of each load balancer: HAProxy and nginx.
const PORTS: [u16; 2] = [7000, 7001];

fn ruby_sees_the_client(hand_off: HandOff) {
    let site = Site::under(hand_off);
    let _haproxy = HaProxy::start(&site, PORTS[0], "10.77.1.1:7", "send-proxy");
    let _nginx = NginxStream::start(&site, PORTS[1], "10.77.1.1:7");
    let _ruby = RubyEcho::start(&site, address::SERVER, 7);

    // Without proxyip Ruby sees the load balancer, and the header instead of the client's line.
    for port in PORTS {
        let before = ask(&site, port);
        assert!(before.answer.starts_with("10.77.1.2 "), "{before:?}");
        assert!(before.answer.ends_with(&format!(r#" "{}\r\n""#, before.header)), "{before:?}");
    }

    let mut agent = Agent::start(&site, &Guard::ports(&[7]).hand_off(hand_off));
    for port in PORTS {
        let after = ask(&site, port);
        let expected = format!(r#"203.0.113.9 {} "hello\n""#, after.client_port);
        assert_eq!(after.answer, expected, "port {port}");
    }

    assert_handed_off(&agent, hand_off);

    // A connection that carries no header is not passed on.
    let stream = crate::common::open_and_send(&site, &trusted_dial(7), b"hello\n");
    assert!(proxyip_tests::is_reset(&stream));
    site.finish(&mut agent, &[("header_missing", 1)]);
}

#[derive(Debug)]
struct Asked {
    answer: String,
    client_port: u16,
    header: String,
}

fn ask(site: &Site, port: u16) -> Asked {
    let mut stream = Dial::to(address::FRONT, port).open(&site.net.client);
    std::io::Write::write_all(&mut stream, b"hello\n").expect("cannot send");
    let client_port = stream.local_addr().expect("a bound socket").port();
    let header = format!("PROXY TCP4 203.0.113.9 203.0.113.1 {client_port} {port}");
    Asked { answer: read_line(&stream), client_port, header }
}
