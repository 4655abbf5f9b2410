//! Headers that the observe hand-off does not let the application have.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use proxyip_tests::header::{CRC32C, PROXY, TCP4, tlv, v2_raw, v2_with};
use proxyip_tests::{Agent, Guard, HandOff, Site, is_reset};

use crate::common::{
    CLIENT, DESTINATION, open_and_send, socket_address, trusted_dial, trusted_dial6,
};

/// What is sent in one segment, and the label of the reason.
fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let (client, destination) = (socket_address(CLIENT), socket_address(DESTINATION));
    let wrong_checksum = v2_with(client, destination, &tlv(CRC32C, &[1, 2, 3, 4]));
    vec![
        ("header_missing", b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        ("v1_port", b"PROXY TCP4 1.2.3.4 1.2.3.5 01 2\r\n".to_vec()),
        ("v2_length", v2_raw(PROXY, TCP4, &[0; 11])),
        ("v2_checksum", wrong_checksum),
        ("version_refused", b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n".to_vec()),
    ]
}

/// The application has taken the connection when the header comes, and must learn that it is over: it gets
/// none of the bytes, and `ECONNRESET`.
#[test]
fn malformed_headers_are_reset_at_both_ends() {
    let site = Site::new();
    let listener = site.net.server.enter(|| TcpListener::bind("[::]:80")).expect("a listener");
    for (reason, bytes) in cases() {
        let guard = Guard::ports(&[80]).hand_off(HandOff::Observe);
        let v2_only = reason == "version_refused";
        let guard = if v2_only { guard.setting("versions = [\"v2\"]") } else { guard };
        let mut agent = Agent::start(&site, &guard);
        for dial in [trusted_dial(80), trusted_dial6(80)] {
            let stream = open_and_send(&site, &dial, &bytes);
            let (mut accepted, _) = listener.accept().expect("a connection");
            accepted.set_read_timeout(Some(Duration::from_secs(5))).expect("SO_RCVTIMEO");
            let outcome = accepted.read(&mut [0; 100]);
            let error = outcome.expect_err("nothing of it is read").kind();
            assert_eq!(error, ErrorKind::ConnectionReset, "{reason}: the application");
            assert!(is_reset(&stream), "{reason}: the load balancer");
            assert_refusal(&agent, stream.local_addr().expect("a bound socket"), reason);
        }
        agent.assert_healthy(&[(reason, 2)]);
        assert_eq!(agent.counter("established"), 0, "{reason}");
    }
    site.assert_clean();
}

fn assert_refusal(agent: &Agent, peer: SocketAddr, reason: &str) {
    let event = agent.wait_event("refuse", &peer.to_string());
    let fields = ["reason", "verdict", "hand_off"].map(|field| event[field].as_str());
    assert_eq!(fields, [Some(reason), Some("reset"), Some("observe")], "{event}");
}
