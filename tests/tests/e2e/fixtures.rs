//! The fixtures themselves: a check that cannot fail shows nothing.

use proxyip_tests::servers::{AcceptCall, EchoServer};
use proxyip_tests::{Capture, Directions, Offloads, Plan, Scratch, Site};

use crate::common::{ask_names, assert_both, assert_echoed, pattern, trusted_dial, trusted_dial6};

#[test]
fn a_capture_with_partial_checksums_is_not_clean() {
    let offloads = Offloads { checksums: true, segmentation: true, merging: false };
    let site = Site::with(&Plan { offloads, ..Plan::default() });
    let server = &site.net.server;
    let capture = Capture::start(&site.scratch, server, "eth0", Directions::Both);
    let _echo = EchoServer::start(server, "0.0.0.0", 80);
    ask_names(&trusted_dial(80).open(&site.net.balancer));
    capture.stop();
    let (bad, packets) = capture.bad_checksums();
    assert!(!bad.is_empty() && bad.len() <= packets, "{} of {packets}", bad.len());
    site.assert_clean();
}

#[test]
fn the_echo_server_names_its_peer_and_returns_the_payload() {
    let site = Site::new();
    let calls = [(80, AcceptCall::Accept), (81, AcceptCall::Accept4), (82, AcceptCall::IoUring)];
    let servers =
        calls.map(|(port, call)| EchoServer::accepting(&site.net.server, "::", port, call));
    for (port, _) in calls {
        for dial in [trusted_dial(port), trusted_dial6(port)] {
            let stream = dial.open(&site.net.balancer);
            let names = ask_names(&stream);
            let own = stream.local_addr().expect("a bound socket");
            let canonical = |name: std::net::SocketAddr| (name.ip().to_canonical(), name.port());
            assert_eq!(canonical(names.accepted), canonical(own));
            assert_eq!(canonical(names.named), canonical(own));
            assert_echoed(&stream, &pattern(300_000));
        }
    }
    drop(servers);
    site.assert_clean();
}

#[test]
fn an_ipv4_listener_gets_plain_names() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "0.0.0.0", 80);
    let stream = trusted_dial(80).open(&site.net.balancer);
    assert_both(ask_names(&stream), stream.local_addr().expect("a bound socket"));
    site.assert_clean();
}

#[test]
fn fixtures_remove_what_they_made_when_a_test_panics() {
    let remains = |name: &str| {
        let namespaces = proxyip_tests::run("ip", &["netns", "list"]);
        let directory = std::env::temp_dir().join(name).exists();
        namespaces.contains(&format!("{name}-")) || directory
    };
    let thread = std::thread::Builder::new().name("a test that panics".into());
    let thread = thread.spawn(|| {
        let site = Site::new();
        let name = site.scratch.name().to_owned();
        std::panic::panic_any(name);
    });
    let panic = thread.expect("a thread").join().expect_err("it panics");
    let name = panic.downcast::<String>().expect("the name");
    assert!(!remains(&name), "{name} remains");
    let living = Scratch::new();
    assert!(remains(living.name()));
}
