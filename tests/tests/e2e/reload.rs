//! The configuration file and the files of networks change while the agent runs.

use std::fs;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Site, address, eventually, is_reset};
use proxyip_user::config::{default_max_flows, processors};

use crate::common::{
    CLIENT, ask_names, assert_both, assert_left_alone, exchange, header_of_client, open_and_send,
    socket_address, trusted_dial,
};

pub(crate) const CLIENT_NET: &str = "198.51.100.0/24";

/// Asserts that the client of the usual header gets through to the server on this port.
pub(crate) fn assert_accepted(site: &Site, port: u16) -> std::net::TcpStream {
    let stream = open_and_send(site, &trusted_dial(port), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    stream
}

pub(crate) fn assert_refused(site: &Site, port: u16) {
    assert!(is_reset(&open_and_send(site, &trusted_dial(port), &header_of_client())));
}

#[track_caller]
fn assert_taken(said: &str) {
    assert!(said.contains("the configuration is in force as it is now"), "{said}");
}

#[track_caller]
fn assert_not_taken(said: &str) {
    assert!(said.contains("the old configuration stays in force"), "{said}");
}

#[test]
fn a_changed_allow_list_counts_from_the_next_connection_on() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]);
    let mut agent = Agent::start(&site, &guard);
    let before = assert_accepted(&site, 80);
    assert_taken(&agent.reload(&guard.clone().setting("allow = [\"203.0.113.0/24\"]")));
    assert_refused(&site, 80);
    exchange(&before);
    assert_taken(&agent.reload(&guard.clone().setting(&format!("allow = [{CLIENT_NET:?}]"))));
    assert_accepted(&site, 80);
    assert_taken(&agent.reload(&guard.clone().setting(&format!("deny = [{CLIENT_NET:?}]"))));
    assert_refused(&site, 80);
    assert_taken(&agent.reload(&guard));
    assert_accepted(&site, 80);
    exchange(&before);
    site.finish(&mut agent, &[("denied_reset", 2)]);
}

/// Its flows have the new name, and commands find them.
#[test]
fn flows_of_a_listener_that_is_called_otherwise_are_still_its_own() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let stream = assert_accepted(&site, 80);
    assert_taken(&agent.reload(&Guard::ports(&[80]).named("shop")));
    let shown = agent.ask(&["flows", "--listener", "shop"]).stdout;
    assert!(shown.contains(" shop "), "{shown}");
    assert_eq!(agent.ask(&["acl", "deny", "shop", CLIENT_NET]).code, 0);
    let ended = agent.ask(&["acl", "disconnect", "shop"]);
    assert!(ended.stdout.starts_with("shop: "), "{ended:?}");
    assert!(is_reset(&stream));
    site.finish(&mut agent, &[]);
}

/// How many connections a listener has had, with any hand-off.
fn connections(agent: &Agent, name: &str) -> u64 {
    let listeners = agent.status().listeners;
    let listener = listeners.iter().find(|one| one.name == name);
    let rows = &listener.unwrap_or_else(|| panic!("no {name}: {listeners:?}")).connections;
    rows.iter().map(|row| row.count).sum()
}

#[test]
fn listeners_come_and_go_and_keep_their_names_and_counters() {
    let site = Site::without_captures();
    let _echoes =
        [80, 81, 82].map(|port| EchoServer::start(&site.net.server, address::SERVER, port));
    let guard = |name, ports: &[u16]| Guard::ports(ports).named(name).hand_off(HandOff::Translate);
    let mut agent = Agent::start(&site, &guard("web", &[80]).with(&guard("api", &[81])));
    let listener_of = |agent: &Agent, stream: &std::net::TcpStream| {
        let peer = stream.local_addr().expect("a bound socket").to_string();
        let flows = agent.flows();
        let flow = flows.iter().find(|live| live.flow.peer.to_string() == peer);
        flow.and_then(|live| live.flow.listener.clone()).expect("a flow of a listener")
    };
    let (web, api) = (assert_accepted(&site, 80), assert_accepted(&site, 81));
    assert_accepted(&site, 81);
    assert_left_alone(&site, &trusted_dial(82));

    // Another one before them, in another order, and a port more.
    let more = guard("new", &[82]).with(&guard("api", &[81])).with(&guard("web", &[80, 8080]));
    assert_taken(&agent.reload(&more));
    let new = assert_accepted(&site, 82);
    for (stream, name) in [(&web, "web"), (&api, "api"), (&new, "new")] {
        assert_eq!(listener_of(&agent, stream), name);
        exchange(stream);
    }
    assert_eq!(["web", "api", "new"].map(|name| connections(&agent, name)), [1, 2, 1]);

    // One is gone, and its port is another's.
    assert_taken(&agent.reload(&guard("api", &[80]).with(&guard("new", &[82]))));
    let moved = assert_accepted(&site, 80);
    assert_left_alone(&site, &trusted_dial(81));
    for (stream, name) in [(&moved, "api"), (&api, "api"), (&new, "new")] {
        assert_eq!(listener_of(&agent, stream), name);
    }
    assert_eq!(["api", "new"].map(|name| connections(&agent, name)), [3, 1]);
    for stream in [&web, &api, &new, &moved] {
        exchange(stream);
    }
    let peer = new.local_addr().expect("a bound socket").to_string();
    drop(new);
    assert_eq!(agent.wait_event("close", &peer)["listener"], "new");
    site.finish(&mut agent, &[]);
}

#[test]
fn another_hand_off_and_another_header_timeout_count_from_the_next_connection_on() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = |hand_off| Guard::ports(&[80]).hand_off(hand_off);
    let mut agent = Agent::start(&site, &guard(HandOff::Auto));
    let before = assert_accepted(&site, 80);
    for hand_off in [HandOff::Translate, HandOff::Auto] {
        let slow = guard(hand_off).setting("header_timeout = 300");
        assert_taken(&agent.reload(&slow));
        let stream = assert_accepted(&site, 80);
        let peer = stream.local_addr().expect("a bound socket").to_string();
        assert_eq!(agent.wait_event("accept", &peer)["hand_off"], hand_off.label());
    }
    exchange(&before);
    // With 300 seconds this would last longer than anybody waits.
    assert_taken(&agent.reload(&guard(HandOff::Auto).setting("header_timeout = 1")));
    let part = &header_of_client()[..20];
    assert!(is_reset(&open_and_send(&site, &trusted_dial(80), part)));
    site.finish(&mut agent, &[("header_timeout", 1)]);
}

#[test]
fn a_wrong_file_changes_nothing_and_is_named_with_line_and_key() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).setting("deny = [\"203.0.113.0/24\"]");
    let mut agent = Agent::start(&site, &guard);
    for (line, key) in [
        ("colour = 1", "listener.colour"),
        ("hand_off = \"guess\"", "listener.hand_off"),
        ("allow = [\"10.0.0.0/33\"]", "listener.allow"),
        ("allow_file = \"/nonexistent/list\"", "listener.allow_file"),
    ] {
        let denied = Guard::ports(&[80]).setting(&format!("deny = [{CLIENT_NET:?}]"));
        assert_not_taken(&agent.reload(&denied.setting(line)));
        let text = fs::read_to_string(agent.config()).expect("the configuration");
        let number = text.lines().position(|one| one == line).expect("the line") + 1;
        agent.wait_diagnostic(&format!("{}:{number}: {key}: ", agent.config()));
        assert_accepted(&site, 80);
    }
    // It is read again as if nothing had been.
    assert_taken(&agent.reload(&guard));
    assert_accepted(&site, 80);
    site.finish(&mut agent, &[]);
}

#[test]
fn what_only_a_start_can_change_is_refused_with_a_sentence() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]);
    let mut agent = Agent::start(&site, &guard);
    let denying = guard.clone().setting(&format!("deny = [{CLIENT_NET:?}]"));
    let changed = denying.agent_setting("max_flows = 2048\nmax_translated = 4096");
    let said = agent.reload(&changed);
    assert_not_taken(&said);
    let pin_path = site.scratch.pin_path();
    let detach = format!("run `proxyip detach --pin-path {}`", pin_path.display());
    let flows = default_max_flows(processors());
    for (key, old, new) in [("max_flows", flows, 2048), ("max_translated", 262_144, 4096)] {
        let sentence = format!("agent.{key} has changed from {old} to {new}, ");
        assert!(said.contains(&sentence) && said.contains(&detach), "{said}");
    }
    assert_accepted(&site, 80);
    assert_taken(&agent.reload(&guard));
    site.finish(&mut agent, &[]);
}

/// Waits until connections of the usual client have this fate.
fn wait_fate(site: &Site, accepted: bool) {
    eventually("another fate of connections", || {
        let stream = open_and_send(site, &trusted_dial(80), &header_of_client());
        let mut writing = &stream;
        std::io::Write::write_all(&mut writing, b"who am I?\n").ok();
        (proxyip_tests::read_line_or_error(&stream).is_ok() == accepted).then_some(())
    });
}

/// By rename and by writing into it; wrong lines and a missing file leave things as they are.
#[test]
fn a_changed_file_of_networks_takes_effect_without_a_signal() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let list = site.scratch.write("allow", "203.0.113.0/24\n");
    let mut agent =
        Agent::start(&site, &Guard::ports(&[80]).setting(&format!("allow_file = {list:?}")));
    assert_refused(&site, 80);
    let other = site.scratch.write("allow.new", &format!("203.0.113.0/24\n{CLIENT_NET}\n"));
    fs::rename(&other, &list).expect("renamed");
    wait_fate(&site, true);
    fs::write(&list, "# nobody\n").expect("written");
    wait_fate(&site, false);
    fs::write(&list, format!("{CLIENT_NET}\n")).expect("written");
    wait_fate(&site, true);

    fs::write(&list, "203.0.113.0/24\n198.51.100.0/33\n").expect("written");
    agent.wait_diagnostic(&format!("{list}:2: "));
    let is_found =
        |agent: &Agent| agent.ask(&["check"]).stdout.contains("not in force as they are");
    assert!(is_found(&agent));
    assert_accepted(&site, 80);
    fs::remove_file(&list).expect("removed");
    let complaints = || {
        let text = agent_log(&site);
        text.lines().filter(|line| line.contains("stays in force")).count()
    };
    eventually("a second complaint", || (complaints() >= 2).then_some(()));
    assert_accepted(&site, 80);
    // Otherwise the sentence would come each second: by the log's order, before the sentence of the next change.
    let looks = || agent_log(&site).lines().filter(|line| line.contains("is in force")).count();
    for round in 0..2 {
        let before = looks();
        let network = ["203.0.113.0/24", CLIENT_NET][round];
        fs::write(&list, format!("{network}\n")).expect("written");
        eventually("the file is read", || (looks() > before).then_some(()));
    }
    assert_eq!(complaints(), 2, "each is said once");
    assert!(!is_found(&agent));
    assert_accepted(&site, 80);
    assert!(agent.process().is_alive());
    site.assert_clean();
}

fn agent_log(site: &Site) -> String {
    fs::read_to_string(site.scratch.path("proxyip.err")).expect("the agent's diagnostics")
}

#[test]
fn the_flow_log_is_reopened_for_whoever_has_renamed_it() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let (log, renamed) = (site.scratch.path("flows.log"), site.scratch.path("flows.log.1"));
    let guard = Guard::ports(&[80]).log_setting(&format!("path = {log:?}"));
    let mut agent = Agent::start(&site, &guard);
    let wait_line = |path: &std::path::Path, peer: &str| {
        eventually("a line of the flow log", || {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.lines().any(|line| line.contains(peer)).then_some(())
        });
    };
    let before = assert_accepted(&site, 80);
    let before = before.local_addr().expect("a bound socket").to_string();
    wait_line(&log, &before);
    fs::rename(&log, &renamed).expect("renamed");
    assert_taken(&agent.hang_up());
    let after = assert_accepted(&site, 80).local_addr().expect("a bound socket").to_string();
    wait_line(&log, &after);
    wait_line(&renamed, &before);
    assert!(!fs::read_to_string(&renamed).expect("it is there").contains(&after));
    site.finish(&mut agent, &[]);
}

/// Another format, another file, none, and a file that cannot be opened.
#[test]
fn the_flow_log_is_exchanged_and_each_connection_is_logged_once() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let paths = ["one.log", "two.log"].map(|name| site.scratch.path(name));
    let to = |n: usize| Guard::ports(&[80]).log_setting(&format!("path = {:?}", paths[n]));
    let missing = site.scratch.path("missing/flows.log");
    let nowhere = Guard::ports(&[81]).log_setting(&format!("path = {missing:?}"));
    let mut agent = Agent::start(&site, &to(0));
    let connect = || {
        let stream = assert_accepted(&site, 80);
        let local = stream.local_addr().expect("a bound socket");
        drop(stream);
        local
    };
    let wait = |n: usize, part: &str| {
        eventually("a line of the flow log", || {
            let text = fs::read_to_string(&paths[n]).unwrap_or_default();
            text.lines().any(|line| line.contains(part)).then_some(())
        });
    };
    let first = connect().to_string();
    wait(0, &first);
    let said = agent.reload(&nowhere);
    assert_not_taken(&said);
    assert!(said.contains(&format!("flow log {}: No such file", missing.display())), "{said}");
    let second = connect().to_string();
    wait(0, &second);
    assert_taken(&agent.reload(&to(1)));
    let third = connect().to_string();
    wait(1, &third);
    assert_taken(&agent.reload(&to(1).vpc_log()));
    connect();
    // A record of this format has the client instead of the peer.
    wait(1, " 198.51.100.7 10.77.1.1 51234 80 6 ");
    assert_taken(&agent.reload(&Guard::ports(&[80])));
    let fifth = connect().to_string();
    agent.wait_event("close", &fifth);
    let [one, two] = paths.each_ref().map(|path| fs::read_to_string(path).expect("a log"));
    for (text, other, peer) in [(&one, &two, first), (&one, &two, second), (&two, &one, third)] {
        let opened = |text: &str| {
            let lines = text.lines().filter(|line| line.contains(&peer));
            lines.filter(|line| line.contains("\"accept\",\"time\"")).count()
        };
        assert_eq!((opened(text), opened(other)), (1, 0), "{peer}: {one}\n{two}");
    }
    assert!(!one.contains(&fifth) && !two.contains(&fifth));
    site.finish(&mut agent, &[]);
}
