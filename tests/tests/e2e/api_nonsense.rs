//! Requests that are none: refused or cut off, and the next one is answered.

use proxyip_tests::{Agent, Guard, Site};

const HTTP: &str = "127.0.0.1:9811";

/// Whole requests, and what they are.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let get =
        |rest: &str| format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{rest}\r\n").into_bytes();
    let line = |line: &str| format!("{line}\r\nHost: localhost\r\n\r\n").into_bytes();
    let many = "X: 1\r\n".repeat(5000);
    vec![
        ("no HTTP", b"10.77.1.2:1 10.77.1.1:80\r\n\r\n".to_vec()),
        ("a PROXY header", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        ("NUL bytes", vec![0; 1000]),
        ("no bytes of ASCII", vec![0xff; 1000]),
        ("HTTP/0.9", b"GET /healthz\r\n\r\n".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("HTTP/3.0", line("GET /healthz HTTP/3.0")),
        ("another protocol", line("GET /healthz HTCPCP/1.0")),
        ("no method", line(" /healthz HTTP/1.1")),
        ("two paths", line("GET /healthz /readyz HTTP/1.1")),
        ("a space in the path", line("GET /v1/acl/a b HTTP/1.1")),
        ("NUL in the path", line("GET /healthz\0 HTTP/1.1")),
        ("percent-encoded NUL in the path", line("GET /v1/acl/%00 HTTP/1.1")),
        ("half a percent-encoding", line("GET /v1/acl/%f HTTP/1.1")),
        ("percent-encoding that is no UTF-8", line("GET /v1/acl/%ff HTTP/1.1")),
        ("parents of the root", line("GET /../../etc/passwd HTTP/1.1")),
        ("asterisk", line("OPTIONS * HTTP/1.1")),
        ("a host and no path", line("CONNECT localhost:80 HTTP/1.1")),
        ("a method in lower case", line("get /healthz HTTP/1.1")),
        ("a wrong method", line("BREW /healthz HTTP/1.1")),
        ("a long path", line(&format!("GET /{} HTTP/1.1", "x".repeat(40_000)))),
        ("a huge head", get(&format!("X: {}\r\n", "x".repeat(150_000)))),
        ("a huge path", line(&format!("GET /{} HTTP/1.1", "x".repeat(150_000)))),
        ("too many fields", get(&many)),
        ("no name of a field", get(": 1\r\n")),
        ("a space in a field's name", get("X Y: 1\r\n")),
        ("a folded field", get("X: 1\r\n 2\r\n")),
        ("NUL in a field", get("X: \0\r\n")),
        ("a length that is none", get("Content-Length: many\r\n")),
        ("a negative length", get("Content-Length: -1\r\n")),
        ("a length too large for anything", get("Content-Length: 99999999999999999999\r\n")),
        ("two lengths", get("Content-Length: 1\r\nContent-Length: 2\r\n")),
        ("an unknown encoding", get("Transfer-Encoding: chunked, gzip\r\n")),
        ("a query that is none", line("GET /v1/flows?limit=%zz HTTP/1.1")),
        ("a query of nothing but separators", line("GET /v1/flows?&=&=&= HTTP/1.1")),
        ("a huge number", line("GET /v1/flows?limit=99999999999999999999 HTTP/1.1")),
    ]
}

#[test]
fn malformed_requests_are_refused_or_cut_off_and_unusual_ones_answered() {
    let site = Site::without_captures();
    let guard = Guard::ports(&[80]).api_setting(&format!("http = {HTTP:?}"));
    let mut agent = Agent::start(&site, &guard);
    let mut patient = agent.api();
    for (what, request) in malformed() {
        for mut api in [agent.api(), agent.api_over_tcp(HTTP)] {
            // The agent may have heard enough before the end.
            let _ = api.send(&request);
            if let Ok(reply) = api.receive() {
                let refused =
                    (400..500).contains(&reply.status) || [501, 505].contains(&reply.status);
                assert!(refused, "{what}: {}", reply.status);
            }
        }
        assert_eq!(patient.reply("GET", "/healthz").status, 200, "after {what}");
    }
    assert_unusual_requests_are_answered(&agent);
    agent.assert_healthy(&[]);
}

fn assert_unusual_requests_are_answered(agent: &Agent) {
    for request in [
        // Chunks go before the length: RFC 9112, section 6.3.
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n",
        "GET /healthz HTTP/1.1\nHost: localhost\n\n",
        "\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /healthz?x=%00 HTTP/1.1\r\nHost: localhost\r\nCookie: x\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    ] {
        for mut api in [agent.api(), agent.api_over_tcp(HTTP)] {
            api.send(request.as_bytes()).expect("the agent reads");
            assert_eq!(api.receive().expect("an answer").status, 200, "{request:?}");
        }
    }
}
