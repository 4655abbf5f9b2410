//! The line protocol, and programs in other languages that speak it.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Dial, Guard, Lines, Site, attempt, run};

use crate::common::{
    CLIENT, CLIENT6, ask_names, header_of_client, header_of_client6, open_and_send, trusted_dial,
    trusted_dial6,
};

/// `PEER LOCAL` of a connection over IPv4 and of one over IPv6, and their clients.
type Flows<'a> = [(&'a str, &'a str); 2];

/// One agent answers all of it: each part uses new sockets.
#[test]
fn lines_are_answered() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let open = |dial: &Dial, header: &[u8]| {
        let stream = open_and_send(&site, dial, header);
        ask_names(&stream);
        let (peer, local) = (stream.local_addr(), stream.peer_addr());
        (format!("{} {}", peer.expect("bound"), local.expect("connected")), stream)
    };
    let (line, _stream) = open(&trusted_dial(80), &header_of_client());
    let (line6, _stream6) = open(&trusted_dial6(80), &header_of_client6());
    assert!(line6.starts_with("[fd00:77:1::2]:") && line6.ends_with(" [fd00:77:1::1]:80"));
    let flows: Flows = [(&line, CLIENT), (&line6, CLIENT6)];
    thousands_of_lines_in_one_write_are_answered_in_order(&site, &agent, flows);
    a_line_may_come_in_pieces_and_end_as_on_any_system(&site, &agent, flows);
    mapped_addresses_are_ipv4_and_malformed_lines_are_said_to_be(&site, &agent, flows);
    a_line_without_end_is_refused_and_the_connection_ended(&site, &agent, flows);
    who_stops_sending_still_gets_all_answers(&site, &agent, flows);
    examples_in_other_languages_find_clients(&site, &agent, flows);
    site.finish(&mut agent, &[]);
}

const UNKNOWN: &str = "10.77.1.2:1 10.77.1.1:80";

fn thousands_of_lines_in_one_write_are_answered_in_order(
    _: &Site,
    agent: &Agent,
    [first, second]: Flows,
) {
    const LINES: usize = 3000;
    let asked: Vec<_> = [first, (UNKNOWN, "-"), second].into_iter().cycle().take(LINES).collect();
    let written: String = asked.iter().flat_map(|(line, _)| [*line, "\n"]).collect();
    let mut lines = agent.lines();
    lines.send(written.as_bytes()).expect("the agent reads");
    for (number, (_, client)) in asked.iter().enumerate() {
        assert_eq!(lines.receive().expect("an answer"), *client, "line {number}");
    }
}

fn a_line_may_come_in_pieces_and_end_as_on_any_system(
    _: &Site,
    agent: &Agent,
    [(line, client), (other, of_other)]: Flows,
) {
    let mut lines = agent.lines();
    for piece in line.as_bytes().chunks(5).chain([b"\r".as_slice(), b"\n"]) {
        lines.send(piece).expect("the agent reads");
        sleep(Duration::from_millis(5));
    }
    assert_eq!(lines.receive().expect("an answer"), client);
    // The end of one line, a whole one, and the beginning of the next.
    let (begin, end) = other.split_at(20);
    lines.send(begin.as_bytes()).expect("the agent reads");
    lines.send(format!("{end}\n{line}\r\n{begin}").as_bytes()).expect("the agent reads");
    lines.send(format!("{end}\n").as_bytes()).expect("the agent reads");
    let answers = [0; 3].map(|_| lines.receive().expect("an answer"));
    assert_eq!(answers, [of_other, client, of_other]);
}

fn mapped_addresses_are_ipv4_and_malformed_lines_are_said_to_be(
    _: &Site,
    agent: &Agent,
    [(line, client), _]: Flows,
) {
    let mut lines = agent.lines();
    let mapped = format!("[::ffff:{}", line.replacen(':', "]:", 1));
    assert_eq!(lines.ask(&mapped), client);
    assert_eq!(lines.ask(&mapped.replace(" 10.77.1.1", " [::ffff:a4d:101]")), client);
    assert_eq!(lines.ask(UNKNOWN), "-");
    for malformed in [
        "",
        " ",
        "10.77.1.2:1",
        "10.77.1.2:1 ",
        "10.77.1.2:1 10.77.1.1",
        "10.77.1.2:1 10.77.1.1:65536",
        "10.77.1.2:1 10.77.1.1:-1",
        "10.77.1.2:1\t10.77.1.1:80",
        "10.77.1.2:1  10.77.1.1:80",
        "10.77.1.2:1 10.77.1.1:80 10.77.1.1:80",
        "fd00::2:1 fd00::1:80",
        "localhost:1 localhost:80",
        "\0",
        "\u{661}0.77.1.2:1 10.77.1.1:80",
        "GET / HTTP/1.1",
    ] {
        let answer = lines.ask(malformed);
        assert!(answer.starts_with("! a line is PEER LOCAL"), "{malformed:?}: {answer}");
    }
    lines.send(b"\xff\xfe \xc3\n").expect("the agent reads");
    assert!(lines.receive().expect("an answer").starts_with("! "));
    assert_eq!(lines.ask(line), client, "the conversation goes on");
}

fn a_line_without_end_is_refused_and_the_connection_ended(
    _: &Site,
    agent: &Agent,
    [(line, client), _]: Flows,
) {
    let mut lines = agent.lines();
    let written = format!("{line}\n{}", "1".repeat(300));
    lines.send(written.as_bytes()).expect("the agent reads");
    assert_eq!(lines.receive().expect("an answer"), client);
    assert!(lines.receive().expect("an answer").starts_with("! a line has at most"));
    let end = lines.receive().expect_err("the end").kind();
    assert!(matches!(end, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{end}");

    // Sending it slowly does not help.
    let mut slow = agent.lines();
    let refused = (0..300).any(|_| slow.send(b"1").is_err());
    assert!(refused || slow.receive().expect("an answer").starts_with("! "));
    // Long but whole: malformed like any other.
    let mut whole = agent.lines();
    assert!(whole.ask(&"1".repeat(200)).starts_with("! "));
    assert_eq!(whole.ask(line), client);
}

fn who_stops_sending_still_gets_all_answers(site: &Site, _: &Agent, [(line, client), _]: Flows) {
    let socket = site.scratch.path("lookup.sock");
    let mut lines = Lines::connect(&socket);
    lines.send(format!("{line}\n").repeat(100).as_bytes()).expect("the agent reads");
    lines.end();
    for _ in 0..100 {
        assert_eq!(lines.receive().expect("an answer"), client);
    }
    assert_eq!(lines.receive().expect_err("the end").kind(), ErrorKind::UnexpectedEof);
}

fn examples_in_other_languages_find_clients(site: &Site, _: &Agent, flows: Flows) {
    let example = |name: &str| {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/lookup");
        directory.join(name).display().to_string()
    };
    let socket = site.scratch.path("lookup.sock").display().to_string();
    let compiled = site.scratch.path("lookup").display().to_string();
    run("gcc", &["-Wall", "-Werror", "-o", &compiled, &example("lookup.c")]);
    for command in [
        ["sh", &example("lookup.sh")].as_slice(),
        &["perl", "-w", &example("lookup.pl")],
        &["php", &example("lookup.php")],
        &[&compiled, &socket],
    ] {
        for (line, client) in flows.into_iter().chain([(UNKNOWN, "-")]) {
            let mut process = Command::new(command[0]);
            process.args(&command[1..]).args(line.split(' ')).env("PROXYIP_LOOKUP", &socket);
            let output = attempt(&mut process);
            let answer = String::from_utf8_lossy(&output.stdout);
            assert_eq!(answer, format!("{client}\n"), "{command:?}: {output:?}");
            assert!(output.status.success(), "{command:?}: {output:?}");
        }
    }
}
