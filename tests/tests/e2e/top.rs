//! `proxyip top` in a real terminal.

use std::process::Command;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Answer, Guard, Site, Size, Terminal, address, agent_binary, attempt};
use proxyip_user::config::{default_max_flows, processors};

use crate::common::open_for;

/// A terminal in which `proxyip top` runs.
fn top_of(site: &Site) -> Terminal {
    let terminal = Terminal::open(Size { columns: 80, lines: 24 });
    let socket = site.scratch.path("api.sock");
    let binary = agent_binary();
    let (binary, socket) = (binary.display(), socket.display());
    terminal.enter(&format!("{binary} top --interval 1 --socket {socket}"));
    terminal
}

/// The screen of `top` is gone, and the terminal's settings are as before.
fn assert_sane(terminal: &Terminal) {
    terminal.wait_shell();
    terminal.enter("clear; stty -a");
    let settings = terminal.wait("echoke");
    let words: Vec<_> = settings.split([' ', ';', '\n']).collect();
    for setting in ["icanon", "echo", "isig", "icrnl", "opost"] {
        assert!(words.contains(&setting), "{setting}: {settings}");
    }
}

#[test]
fn traffic_is_shown_and_the_terminal_is_left_as_it_was() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let terminal = top_of(&site);
    terminal.wait("web");
    let streams: Vec<_> = (1..=3).map(|client| open_for(&site, client)).collect();
    let limit = default_max_flows(processors());
    let flows = format!("flows 3 / {limit}");
    let parts = ["running for", &flows, "web", "198.18.0.1", "198.18.0.3", "q quit"];
    terminal.wait_until("three flows", |text| parts.iter().all(|part| text.contains(part)));
    assert!(terminal.is_drawn_on());
    terminal.wait_until("live, accepted and refused connections of the listener", |text| {
        let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.any(|words| words.first() == Some(&"web") && words[1..].ends_with(&["3", "3", "0"]))
    });

    terminal.resize(Size { columns: 40, lines: 12 });
    terminal.wait_until("a small frame", |text| {
        !text.contains("q quit") && text.contains("web") && text.contains("198.18.0.")
    });
    terminal.resize(Size { columns: 100, lines: 30 });
    terminal.wait("q quit");

    terminal.press("p");
    terminal.wait("HELD");
    drop(streams);
    terminal.press("p");
    terminal.wait(&format!("flows 0 / {limit}"));
    terminal.press("s");
    terminal.wait("(by address)");
    terminal.press("+");
    terminal.wait("every 2 s");
    terminal.press("q");
    assert_sane(&terminal);
    site.finish(&mut agent, &[]);
}

#[test]
fn an_agent_that_is_killed_is_missed_until_it_is_back() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let terminal = top_of(&site);
    let stream = open_for(&site, 9);
    terminal.wait("198.18.0.9");
    agent.kill();
    let shown = terminal.wait("trying again: no agent answers");
    assert!(shown.contains("198.18.0.9"), "what was known stays: {shown}");
    agent.start_again();
    terminal.wait_until("the agent that is back", |text| !text.contains("trying again"));
    let another = open_for(&site, 10);
    terminal.wait("198.18.0.10");
    drop((stream, another));
    terminal.press(Terminal::CONTROL_C);
    assert_sane(&terminal);
    site.finish(&mut agent, &[]);
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let site = Site::without_captures();
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    for signal in ["TERM", "HUP", "INT"] {
        let terminal = Terminal::open(Size { columns: 80, lines: 24 });
        let pid = site.scratch.path("top.pid").display().to_string();
        let socket = site.scratch.path("api.sock").display().to_string();
        let binary = agent_binary().display().to_string();
        terminal.enter(&format!("sh -c 'echo $$ > {pid}; exec {binary} top --socket {socket}'"));
        terminal.wait("web");
        let process = std::fs::read_to_string(&pid).expect("the process id was written");
        let sent = attempt(Command::new("kill").args(["-s", signal, process.trim()]));
        assert!(sent.status.success(), "{sent:?}");
        assert_sane(&terminal);
    }
    site.finish(&mut agent, &[]);
}

#[test]
fn one_frame_needs_no_terminal() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let stream = open_for(&site, 7);
    let answer = agent.ask(&["top", "--once", "--interval", "1"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let flows = format!("flows 1 / {}", default_max_flows(processors()));
    for part in ["proxyip", &flows, "web", "198.18.0.7"] {
        assert!(answer.stdout.contains(part), "{part}: {answer:?}");
    }
    assert!(!answer.stdout.contains('\x1b'), "{answer:?}");
    drop(stream);

    let answer = agent.ask(&["top"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("this is no terminal: use --once"), "{answer:?}");
    let mut nobody = Command::new(agent_binary());
    nobody.args(["top", "--once", "--socket"]).arg(site.scratch.path("nobody.sock"));
    let answer = Answer::from(attempt(&mut nobody));
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("no agent answers"), "{answer:?}");
    site.finish(&mut agent, &[]);
}
