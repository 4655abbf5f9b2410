//! `proxyip acl`: who may connect, changed while the agent runs.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use proxyip_api::acl::{Disconnected, Origin, Verdict};
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Answer, Guard, HandOff, Site, address, header, read_line_or_error};

use crate::common::{
    DESTINATION, DESTINATION6, exchange, open_and_send, socket_address, trusted_dial,
};

/// A connection of this client; `None` if it was refused.
fn connect(site: &Site, port: u16, client: &str) -> Option<TcpStream> {
    let client = SocketAddr::new(client.parse().expect("an address"), 40_000);
    let to = if client.is_ipv4() { DESTINATION } else { DESTINATION6 };
    let mut bytes = header::v2(client, socket_address(to));
    bytes.extend(b"who am I?\n");
    let stream = open_and_send(site, &trusted_dial(port), &bytes);
    match read_line_or_error(&stream) {
        Ok(line) => {
            assert!(line.ends_with("\"who am I?\""), "{line}");
            Some(stream)
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{client}");
            None
        }
    }
}

fn is_accepted(site: &Site, client: &str) -> bool {
    connect(site, 80, client).is_some()
}

#[track_caller]
fn assert_done(answer: &Answer) {
    assert_eq!(answer.code, 0, "{answer:?}");
}

#[test]
fn commands_count_from_the_next_connection_on() {
    const CLIENT: &str = "198.51.100.7";
    const OTHER: &str = "198.51.100.8";
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]);
    let mut agent = Agent::start(&site, &guard.setting("deny = [\"203.0.113.0/24\"]"));
    let before = connect(&site, 80, CLIENT).expect("accepted");
    assert_done(&agent.ask(&["acl", "deny", "web", "198.51.100.0/24"]));
    assert!(!is_accepted(&site, CLIENT));
    exchange(&before);
    assert_done(&agent.ask(&["acl", "allow", "web", CLIENT]));
    assert_eq!([CLIENT, OTHER].map(|client| is_accepted(&site, client)), [true, false]);
    assert_done(&agent.ask(&["acl", "remove", "web", CLIENT]));
    assert!(!is_accepted(&site, CLIENT));
    assert_done(&agent.ask(&["acl", "remove", "web", "198.51.100.0/24"]));
    assert!(is_accepted(&site, CLIENT));

    // It goes before the configuration, which counts again afterwards and cannot be removed.
    assert_done(&agent.ask(&["acl", "allow", "web", "203.0.113.0/24"]));
    assert!(is_accepted(&site, "203.0.113.5"));
    assert_done(&agent.ask(&["acl", "remove", "web", "203.0.113.0/24"]));
    assert!(!is_accepted(&site, "203.0.113.5"));
    for (arguments, sentence) in [
        (["remove", "web", "203.0.113.0/24"], "is in the configuration: remove it there"),
        (["remove", "web", "192.0.2.0/24"], "has no rule for 192.0.2.0/24"),
        (["deny", "nobody", "192.0.2.0/24"], "there is no listener \"nobody\"; there are web"),
    ] {
        let answer = agent.ask(&[["acl"].as_slice(), &arguments].concat());
        assert_eq!(answer.code, 1, "{answer:?}");
        assert!(answer.stderr.contains(sentence), "{answer:?}");
    }
    let answer = agent.ask(&["acl", "test", "nobody", CLIENT]);
    assert_eq!(answer.code, 2, "{answer:?}");
    site.finish(&mut agent, &[("denied_reset", 4)]);
}

#[test]
fn the_test_of_a_client_is_what_its_connections_experience() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let file = site.scratch.write("deny", "198.51.100.128/25\n2001:db8:6::/48\n");
    let lists = format!(
        "allow = [\"198.51.100.0/24\", \"198.51.100.200/32\", \"2001:db8::/32\"]\ndeny_file = {file:?}"
    );
    let guard = Guard::ports(&[80]).hand_off(HandOff::Translate).setting(&lists);
    let mut agent = Agent::start(&site, &guard);
    assert_done(&agent.ask(&["acl", "allow", "web", "2001:db8:6::7,203.0.113.0/25"]));
    assert_done(&agent.ask(&["acl", "deny", "web", "::ffff:198.51.100.9", "2001:db8:7::/48"]));
    let mut denied = 0;
    for (client, allowed, from) in [
        ("198.51.100.7", true, "198.51.100.0/24 allow (configuration)"),
        ("::ffff:198.51.100.7", true, "198.51.100.0/24 allow (configuration)"),
        ("198.51.100.9", false, "198.51.100.9/32 deny (command)"),
        ("::ffff:198.51.100.9", false, "198.51.100.9/32 deny (command)"),
        ("198.51.100.129", false, &format!("198.51.100.128/25 deny ({file})")),
        ("198.51.100.200", true, "198.51.100.200/32 allow (configuration)"),
        ("203.0.113.127", true, "203.0.113.0/25 allow (command)"),
        ("203.0.113.128", false, "no rule matches"),
        ("2001:db8:5::7", true, "2001:db8::/32 allow (configuration)"),
        ("2001:db8:6::7", true, "2001:db8:6::7/128 allow (command)"),
        ("2001:db8:6::8", false, &format!("2001:db8:6::/48 deny ({file})")),
        ("2001:db8:7::7", false, "2001:db8:7::/48 deny (command)"),
        ("2001:db9::1", false, "no rule matches"),
    ] {
        let answer = agent.ask(&["acl", "test", "web", client]);
        assert_eq!(answer.code, i32::from(!allowed), "{client}: {answer:?}");
        assert!(answer.stdout.contains(from), "{client}: {answer:?}");
        assert_eq!(is_accepted(&site, client), allowed, "{client}");
        denied += u64::from(!allowed);
    }
    let rules = agent.rules();
    assert_eq!(rules.otherwise, Verdict::Deny, "{rules:?}");
    assert_eq!(rules.rules.len(), 9, "{rules:?}");
    site.finish(&mut agent, &[("denied_reset", denied)]);
}

/// Also: to allow one client where there is no list denies nobody.
#[test]
fn rules_of_commands_survive_the_agent_but_not_the_kernel_programs() {
    const DENIED: &str = "198.51.100.7";
    const OTHERS: [&str; 2] = ["203.0.113.5", "2001:db8:5::7"];
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]);
    let mut agent = Agent::start(&site, &guard);
    assert_done(&agent.ask(&["acl", "allow", "web", OTHERS[0]]));
    let clients = [DENIED, OTHERS[0], OTHERS[1]];
    assert_eq!(clients.map(|client| is_accepted(&site, client)), [true; 3]);
    assert_done(&agent.ask(&["acl", "deny", "web", DENIED]));
    let assert_there = |agent: &Agent| {
        assert_eq!(clients.map(|client| is_accepted(&site, client)), [false, true, true]);
        let rules = agent.rules().rules;
        assert!(rules.iter().all(|rule| rule.origin == Origin::Command), "{rules:?}");
        assert_eq!(rules.len(), 2, "{rules:?}");
    };
    assert_there(&agent);
    agent.kill();
    assert!(!is_accepted(&site, DENIED), "while no agent runs");
    agent.start_again();
    assert_there(&agent);
    agent.process().signal(nix::sys::signal::Signal::SIGTERM);
    agent.process().wait();
    agent.start_again();
    assert_there(&agent);
    let said = agent.reload(&guard.clone().also_guarding(8080));
    assert!(said.contains("in force as it is now"), "{said}");
    assert_there(&agent);
    agent.assert_healthy(&[("denied_reset", 5)]);

    agent.process().signal(nix::sys::signal::Signal::SIGTERM);
    agent.process().wait();
    let pin_path = site.scratch.pin_path().display().to_string();
    assert_done(&agent.ask(&["detach", "--drain", "0", "--pin-path", &pin_path]));
    agent.start_again();
    assert!(is_accepted(&site, DENIED));
    assert_eq!(agent.rules().rules, []);
    site.finish(&mut agent, &[]);
}

#[test]
fn disconnect_ends_the_connections_of_denied_clients_and_no_other() {
    const DENIED: [&str; 2] = ["198.51.100.7", "2001:db8:5::7"];
    let site = Site::without_captures();
    let hand_offs = [(80, HandOff::Auto), (81, HandOff::Translate)];
    let _echoes =
        hand_offs.map(|(port, _)| EchoServer::start(&site.net.server, address::SERVER, port));
    let [first, second] =
        hand_offs.map(|(port, one)| Guard::ports(&[port]).hand_off(one).named(one.setting()));
    let mut agent = Agent::start(&site, &first.with(&second));
    for (port, hand_off) in hand_offs {
        let name = hand_off.setting();
        let none: Vec<Disconnected> = agent.json(&["acl", "disconnect", name]);
        assert_eq!(none, [], "{name}");
        let other = connect(&site, port, "198.51.100.8").expect("accepted");
        let denied = DENIED.map(|client| connect(&site, port, client).expect("accepted"));
        for client in DENIED {
            assert_done(&agent.ask(&["acl", "deny", name, client]));
        }
        denied.iter().for_each(exchange);
        let ended: Vec<Disconnected> = agent.json(&["acl", "disconnect"]);
        let mut ended: Vec<_> = ended
            .into_iter()
            .map(|one| {
                assert_eq!((&*one.listener, one.error), (name, None));
                one.peer.to_string()
            })
            .collect();
        let peer = |stream: &TcpStream| stream.local_addr().expect("bound").to_string();
        let mut expected: Vec<_> = denied.iter().map(peer).collect();
        ended.sort();
        expected.sort();
        assert_eq!(ended, expected);
        for mut stream in denied {
            // The application's end is gone: its kernel reports this, and the flow log also.
            let end = read_line_or_error(&stream).expect_err("the connection has ended");
            assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
            assert!(stream.write_all(b"?").is_err());
            agent.wait_event("close", &expected.pop().expect("as many"));
        }
        exchange(&other);
    }
    let answer = agent.ask(&["acl", "disconnect", "nobody"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    site.finish(&mut agent, &[]);
}
