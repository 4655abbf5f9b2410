//! `proxyip flows`: which flows, what of them, and again and again.

use std::net::TcpStream;

use nix::sys::signal::Signal;
use proxyip_api::flow::LiveFlow;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Answer, Guard, Process, Site, Size, Terminal, agent_binary};
use proxyip_tests::{eventually, header};

use crate::common::{
    CLIENT, CLIENT6, DESTINATION, ask_names, header_of_client, header_of_client6, open_and_send,
    socket_address, trusted_dial,
};

const CLIENT_OF_SSH: &str = "203.0.113.9:40000";

/// Two connections to the listener `web`, and one to `ssh`.
fn connect(site: &Site) -> Vec<TcpStream> {
    let of_ssh = header::v2(socket_address(CLIENT_OF_SSH), socket_address(DESTINATION));
    let headers = [(80, header_of_client()), (80, header_of_client6()), (22, of_ssh)];
    let open = |(port, header): &(u16, Vec<u8>)| {
        let stream = open_and_send(site, &trusted_dial(*port), header);
        ask_names(&stream);
        stream
    };
    headers.iter().map(open).collect()
}

/// Asserts that the table has a line for each of these clients and no other.
fn assert_clients(answer: &Answer, clients: &[&str]) {
    assert_eq!(answer.code, 0, "{answer:?}");
    let mut seen: Vec<_> = answer.stdout.lines().skip(1).filter_map(first_word).collect();
    let mut expected = clients.to_vec();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected, "{answer:?}");
}

fn first_word(line: &str) -> Option<&str> {
    line.split_whitespace().next()
}

#[test]
fn flows_are_chosen_and_watched() {
    let site = Site::without_captures();
    let _echoes = [80, 22].map(|port| EchoServer::start(&site.net.server, "::", port));
    let guard = Guard::ports(&[80]).with(&Guard::ports(&[22]).named("ssh"));
    let mut agent = Agent::start(&site, &guard);
    assert_a_watched_list_is_printed_again_and_again(&site);
    assert_filters_and_columns(&site, &agent);
    site.finish(&mut agent, &[]);
}

fn assert_filters_and_columns(site: &Site, agent: &Agent) {
    let streams = connect(site);
    let ask = |arguments: &[&str]| agent.ask(&[&["flows"], arguments].concat());

    assert_clients(&ask(&[]), &[CLIENT, CLIENT6, CLIENT_OF_SSH]);
    assert_clients(&ask(&["--client", "198.51.100.0/24"]), &[CLIENT]);
    assert_clients(&ask(&["--client", "2001:db8:5::7"]), &[CLIENT6]);
    assert_clients(&ask(&["--client", "192.0.2.0/24"]), &[]);
    assert_clients(&ask(&["--listener", "ssh"]), &[CLIENT_OF_SSH]);
    assert_clients(&ask(&["--listener", "web", "--client", "203.0.113.9"]), &[]);
    let list: Vec<LiveFlow> = agent.json(&["flows", "--listener", "ssh"]);
    let [flow] = &*list else { panic!("one flow: {list:?}") };
    assert_eq!(flow.flow.client, socket_address(CLIENT_OF_SSH));
    assert!(flow.established.ends_with('Z'), "{flow:?}");

    let head = |answer: &Answer| answer.stdout.lines().next().map(str::to_owned);
    let words = |line: Option<String>| -> Vec<String> {
        line.expect("a line").split_whitespace().map(str::to_owned).collect()
    };
    let ordinary = "CLIENT PEER LOCAL DESTINATION LISTENER ORIGIN VERSION AGE";
    assert_eq!(words(head(&ask(&[]))).join(" "), ordinary);
    let table = ask(&["--listener", "ssh", "--columns", "listener,hand-off,client"]);
    let lines: Vec<_> = table.stdout.lines().map(|line| words(Some(line.into()))).collect();
    assert_eq!(lines[0], ["LISTENER", "HAND-OFF", "CLIENT"]);
    assert_eq!((&*lines[1][0], &*lines[1][2]), ("ssh", CLIENT_OF_SSH));

    for (arguments, code) in [
        (&["--listener", "nobody"][..], 1),
        (&["--client", "203.0.113.9/24"], 2),
        (&["--columns", "colour"], 2),
        (&["--watch=0"], 2),
        (&["--watch", "--json"], 2),
    ] {
        let answer = ask(arguments);
        assert_eq!(answer.code, code, "{arguments:?}: {answer:?}");
        assert!(answer.stdout.is_empty() && !answer.stderr.is_empty(), "{answer:?}");
    }
    drop(streams);
}

/// Begins and ends without a flow.
fn assert_a_watched_list_is_printed_again_and_again(site: &Site) {
    let socket = site.scratch.path("api.sock");
    let mut command = std::process::Command::new(agent_binary());
    command.args(["flows", "--watch=1", "--socket"]).arg(&socket);
    let mut watch = Process::start("flows", site.scratch.directory(), &mut command);
    watch.ready("an empty table", |watch| watch.stdout().contains("CLIENT").then_some(()));
    let streams = connect(site);
    watch.ready("a table with flows", |watch| watch.stdout().contains(CLIENT).then_some(()));
    let text = watch.stdout();
    // Of each table the line before its head is a time.
    let lines: Vec<_> = text.lines().collect();
    let heads: Vec<_> = (0..lines.len()).filter(|at| lines[*at].starts_with("CLIENT")).collect();
    assert!(heads.len() >= 2, "{text}");
    for head in heads {
        let time = lines[head - 1];
        assert!(time.starts_with("20") && time.ends_with('Z') && time.contains('T'), "{text}");
    }
    watch.signal(Signal::SIGTERM);
    watch.wait();

    let terminal = Terminal::open(Size { columns: 100, lines: 4 });
    terminal.enter(&format!(
        "{} flows --watch --socket {}",
        agent_binary().display(),
        socket.display()
    ));
    let shown = terminal.wait("…");
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines[0].starts_with("CLIENT") && lines[2].starts_with('…'), "{shown}");
    drop(streams);
    eventually("a table without flows", || (!terminal.text().contains('…')).then_some(()));
    terminal.press(Terminal::CONTROL_C);
    terminal.wait("shell>");
}
