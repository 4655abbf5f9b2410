//! nginx with no thought of the PROXY protocol.

use proxyip_tests::balancers::HaProxy;
use proxyip_tests::servers::{Authority, Nginx};
use proxyip_tests::{Agent, Dial, Fetched, Guard, HandOff, Site, address, curl, read_rest};

use crate::common::{
    assert_handed_off, auto_translate_and_multipath, header_of_client, open_and_send,
};

auto_translate_and_multipath!(
    nginx_behind_haproxy_serves_tls_and_logs_the_client,
    nginx_with_every_option_of_its_listening_socket
);

fn nginx_behind_haproxy_serves_tls_and_logs_the_client(hand_off: HandOff) {
    let site = Site::under(hand_off);
    let authority = Authority::new(&site);
    let nginx = Nginx::tls(&site, 443, &authority);
    let _over4 = HaProxy::start(&site, 443, "10.77.1.1:443", "send-proxy-v2");
    let _over6 = HaProxy::start(&site, 8443, "fd00:77:1::1:443", "send-proxy-v2");

    // Without proxyip the header is where the TLS handshake should be.
    let before = fetch_tls(&site, &authority, address::FRONT, 443);
    assert_ne!(before.code, 0, "{before:?}");
    let line = nginx.access_log_line(1);
    assert!(line.starts_with("10.77.1.2 ") && line.contains(" 400 "), "{line}");

    let mut agent = Agent::start(&site, &Guard::ports(&[443]).hand_off(hand_off));
    for (number, (front, port)) in
        [(address::FRONT, 443), (address::FRONT6, 8443)].iter().enumerate()
    {
        let after = fetch_tls(&site, &authority, front, *port);
        assert_eq!((after.code, after.status), (0, 200), "{after:?}");
        assert_eq!(after.body, after.client_words());
        let line = nginx.access_log_line(number + 2);
        assert_eq!(line, format!("{} 200 \"GET / HTTP/1.1\"", after.client_words()));
    }
    assert_handed_off(&agent, hand_off);
    site.finish(&mut agent, &[]);
}

/// curl verifies the certificate of `www.example.com`.
fn fetch_tls(site: &Site, authority: &Authority, front: &str, port: u16) -> Fetched {
    let url = format!("https://www.example.com:{port}/");
    let front = if front.contains(':') { format!("[{front}]") } else { front.to_owned() };
    let resolve = format!("www.example.com:{port}:{front}");
    let arguments = ["--http1.1", "--cacert", &authority.root, "--resolve", &resolve, &url];
    curl(site, &arguments)
}

/// The socket options that nginx's `listen` directive has; each changes how the kernel treats a SYN or
/// picks the socket.
fn nginx_with_every_option_of_its_listening_socket(hand_off: HandOff) {
    for parameters in
        ["reuseport", "deferred", "fastopen=16", "backlog=4 rcvbuf=64k so_keepalive=on"]
    {
        let site = Site::under(hand_off);
        let _nginx = Nginx::with_parameters(&site, 80, parameters);
        let _haproxy = HaProxy::start(&site, 80, "10.77.1.1:80", "send-proxy-v2");
        let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
        for _ in 0..20 {
            let fetched = curl(&site, &["http://203.0.113.1/"]);
            assert_eq!((fetched.status, fetched.body.clone()), (200, fetched.client_words()));
        }
        site.finish(&mut agent, &[]);
    }
}

#[test]
fn a_forged_header_from_an_untrusted_source_is_not_believed() {
    let site = Site::under(HandOff::Translate);
    let nginx = Nginx::plain(&site, 80);
    let _haproxy = HaProxy::start(&site, 80, "10.77.1.1:80", "send-proxy-v2");

    // Without proxyip nginx refuses the header and knows only the load balancer.
    let before = curl(&site, &["http://203.0.113.1/"]);
    assert_ne!(before.status, 200, "{before:?}");
    let line = nginx.access_log_line(1);
    assert!(line.starts_with("10.77.1.2 ") && line.contains(" 400 "), "{line}");

    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(HandOff::Translate));
    let after = curl(&site, &["http://203.0.113.1/"]);
    assert_eq!((after.status, after.body.clone()), (200, after.client_words()));
    let line = nginx.access_log_line(2);
    assert_eq!(line, format!("{} 200 \"GET / HTTP/1.1\"", after.client_words()));
    assert_handed_off(&agent, HandOff::Translate);

    for (number, stranger, server) in
        [(3, address::STRANGER, address::SERVER), (5, address::STRANGER6, address::SERVER6)]
    {
        let dial = Dial::to(server, 80).from(stranger, 0);
        let request = b"GET / HTTP/1.0\r\n\r\n";

        let forged = [header_of_client(), request.to_vec()].concat();
        let answer = read_rest(&open_and_send(&site, &dial, &forged));
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("400 Bad Request"), "{answer}");
        let line = nginx.access_log_line(number);
        assert!(line.starts_with(&format!("{stranger} ")) && line.contains(" 400 "), "{line}");

        let plain = open_and_send(&site, &dial, request);
        let own = plain.local_addr().expect("a bound socket");
        let answer = read_rest(&plain);
        let words = format!("{} {}", own.ip(), own.port());
        assert!(String::from_utf8_lossy(&answer).ends_with(&format!("\r\n\r\n{words}\n")));
        let line = nginx.access_log_line(number + 1);
        assert_eq!(line, format!("{words} 200 \"GET / HTTP/1.0\""));
    }
    assert_eq!(agent.counter("bypassed"), 4);
    site.finish(&mut agent, &[]);
}
