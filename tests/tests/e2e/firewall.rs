//! Rules of firewalls on the clients of connections: named sets, and marks. Rules are those of `docs/firewalls.md`, as they are there.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::TcpStream;

use nix::sys::signal::Signal;
use proxyip_tests::balancers::HaProxy;
use proxyip_tests::servers::{EchoServer, Nginx};
use proxyip_tests::{
    Agent, Dial, Guard, HandOff, Namespace, Site, address, attempt, curl, eventually, header,
};

use crate::common::{
    CLIENT, CLIENT6, DESTINATION, DESTINATION6, assert_echoed, auto_and_translate,
    auto_translate_and_observe, open_and_send, pattern, socket_address, trusted_dial,
    trusted_dial6,
};

auto_translate_and_observe!(a_block_list_refuses_its_members);

mod nginx {
    use super::a_block_list_before_nginx;

    super::auto_and_translate!(a_block_list_before_nginx);
}

/// Of the rules in `docs/firewalls.md`.
pub(crate) const PORT: u16 = 443;
/// Clients that are in no list of these tests.
const OTHER: &str = "198.51.100.8:51234";
const OTHER6: &str = "[2001:db8:6::7]:51234";
/// [`CLIENT`] and [`CLIENT6`].
pub(crate) const MEMBERS: &str = r#"["198.51.100.7/32", "2001:db8:5::/48"]"#;

/// How many blocks of commands the sections of `docs/firewalls.md` have. Tests here and in `firewall_states.rs` run each.
pub(crate) const BLOCKS: [(&str, usize); 3] = [
    ("Named sets, for iptables", 2),
    ("Marks, for nftables and iptables", 2),
    ("Rules on connection states", 2),
];

/// The commands of a section of `docs/firewalls.md`, its first block or a later one, for an agent with this pin path.
pub(crate) fn commands(site: &Site, section: &str, number: usize) -> String {
    let page = include_str!("../../../docs/firewalls.md");
    let (_, text) = page.split_once(&format!("\n## {section}\n")).expect("the section");
    let text = text.split("\n##").next().unwrap_or_default();
    let block = text.split("```sh\n").nth(number + 1).expect("a block of commands");
    let block = block.split("```").next().unwrap_or_default();
    let pins = format!("{}/match/", site.scratch.pin_path().display());
    block.replace("/sys/fs/bpf/proxyip/match/", &pins)
}

/// Runs commands on the server.
pub(crate) fn apply(namespace: &Namespace, commands: &str) {
    let output = attempt(namespace.command("sh").args(["-ec", commands]));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{commands}\n{error}");
}

/// Runs commands of iptables, and the same of ip6tables.
fn apply_to_both(namespace: &Namespace, commands: &str) {
    apply(namespace, commands);
    apply(namespace, &commands.replace("iptables", "ip6tables"));
}

/// Opens a connection for a client and asks a question.
pub(crate) fn ask(site: &Site, dial: &Dial, client: &str) -> TcpStream {
    let client = socket_address(client);
    let destination = if client.is_ipv4() { DESTINATION } else { DESTINATION6 };
    let header = header::v1(client, socket_address(destination));
    open_and_send(site, dial, &[header, b"who am I?\n".to_vec()].concat())
}

/// Whether the question is answered; if not, the connection is reset. Under observe the server's first line is
/// the header's.
pub(crate) fn is_answered(stream: &TcpStream) -> bool {
    for line in BufReader::new(stream).lines() {
        match line {
            Ok(line) if line.contains("who am I?") => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
            Err(error) => panic!("neither reset nor answered: {error}"),
        }
    }
    panic!("neither reset nor answered");
}

/// Asserts that the clients `refused` are refused and the clients `served` are served, over IPv4 and IPv6.
pub(crate) fn assert_refused_and_served(site: &Site, refused: &[&str], served: &[&str]) {
    for dial in [trusted_dial(PORT), trusted_dial6(PORT)] {
        for client in refused {
            assert!(!is_answered(&ask(site, &dial, client)), "{client} {dial:?}");
        }
        for client in served {
            let stream = ask(site, &dial, client);
            assert!(is_answered(&stream), "{client} {dial:?}");
            assert_echoed(&stream, &pattern(100_000));
        }
    }
}

/// What a rule refuses finds no socket.
pub(crate) fn finish(site: &Site, agent: &mut Agent) {
    let drops = agent.numbers("drops");
    for label in drops.keys() {
        assert!(["payload_without_socket", "stack_refuses"].contains(&&**label), "{drops:?}");
    }
    let drops: Vec<_> = drops.iter().map(|(label, count)| (label.as_str(), *count)).collect();
    site.finish(agent, &drops);
}

fn members(networks: &str) -> String {
    format!("cidrs = {networks}")
}

fn a_block_list_refuses_its_members(hand_off: HandOff) {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", PORT);
    let guard = Guard::ports(&[PORT]).hand_off(hand_off).set("blocked", &members(MEMBERS));
    let mut agent = Agent::start(&site, &guard);
    assert_refused_and_served(&site, &[], &[CLIENT, CLIENT6, OTHER]);
    apply_to_both(&site.net.server, &commands(&site, "Named sets, for iptables", 0));
    assert_refused_and_served(&site, &[CLIENT, CLIENT6], &[OTHER, OTHER6]);
    // Of no flow: its source counts.
    let stranger = Dial::to(address::SERVER, PORT).from(address::STRANGER, 0);
    let stream = open_and_send(&site, &stranger, b"who am I?\n");
    assert!(is_answered(&stream));
    finish(&site, &mut agent);
}

/// [`MEMBERS`], and the load balancer.
fn office() -> String {
    let balancer = format!(", \"{}/32\", \"{}/128\"]", address::BALANCER, address::BALANCER6);
    members(&MEMBERS.replace(']', &balancer))
}

#[test]
fn an_allow_list_refuses_all_others() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", PORT);
    let guard = Guard::ports(&[PORT]).set("office", &office());
    let mut agent = Agent::start(&site, &guard);
    apply_to_both(&site.net.server, &commands(&site, "Named sets, for iptables", 1));
    assert_refused_and_served(&site, &[OTHER, OTHER6], &[CLIENT, CLIENT6]);
    let stranger = Dial::to(address::SERVER, PORT).from(address::STRANGER, 0);
    if let Ok(mut stream) = stranger.attempt(&site.net.balancer)
        && std::io::Write::write_all(&mut stream, b"who am I?\n").is_ok()
    {
        assert!(!is_answered(&stream));
    }
    finish(&site, &mut agent);
}

fn a_block_list_before_nginx(hand_off: HandOff) {
    let site = Site::without_captures();
    let nginx = Nginx::plain(&site, PORT);
    let _haproxy = HaProxy::start(&site, 80, "10.77.1.1:443", "send-proxy-v2");
    let guard = Guard::ports(&[PORT]).hand_off(hand_off);
    let guard = guard.set("blocked", &members(&format!("[\"{}/32\"]", address::CLIENT_OTHER)));
    let mut agent = Agent::start(&site, &guard);
    apply(&site.net.server, &commands(&site, "Named sets, for iptables", 0));
    let fetched = curl(&site, &["http://203.0.113.1/"]);
    assert_eq!((fetched.status, fetched.body.clone()), (200, fetched.client_words()));
    // HAProxy tries it three times more.
    let refused = curl(&site, &["http://203.0.113.2/"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert_eq!(nginx.access_log().len(), 1);
    finish(&site, &mut agent);
}

/// A rule keeps the program that it was made with.
#[test]
fn rules_follow_their_set() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", PORT);
    let file = site.scratch.write("blocked", "# nobody yet\n");
    let without = || Guard::ports(&[PORT]).hand_off(HandOff::Translate);
    let with = || without().set("blocked", &format!("file = {file:?}"));
    let mut agent = Agent::start(&site, &with());
    let rule = commands(&site, "Named sets, for iptables", 0);
    apply_to_both(&site.net.server, &rule);
    assert_refused_and_served(&site, &[], &[CLIENT, OTHER]);

    site.scratch.write("blocked", "198.51.100.7/32\n");
    let is_refused = |client| !is_answered(&ask(&site, &trusted_dial(PORT), client));
    eventually("the file to be read", || is_refused(CLIENT).then_some(()));
    assert_refused_and_served(&site, &[CLIENT], &[OTHER]);

    let pin = site.scratch.pin_path().join("match/blocked");
    assert!(pin.exists());
    agent.configure(&without().set("other", "cidrs = [\"198.51.100.7/32\"]"));
    agent.process().signal(Signal::SIGHUP);
    agent.wait_diagnostic("match nothing any more");
    assert!(!pin.exists());
    assert_refused_and_served(&site, &[], &[CLIENT, OTHER]);

    site.scratch.write("blocked", "198.51.100.8/32\n");
    agent.configure(&with());
    agent.kill();
    // The programs stay.
    agent.start_again();
    assert_refused_and_served(&site, &[OTHER], &[CLIENT]);
    apply_to_both(&site.net.server, "iptables -F INPUT");
    assert_refused_and_served(&site, &[], &[OTHER, CLIENT]);
    apply_to_both(&site.net.server, &rule);
    assert_refused_and_served(&site, &[OTHER], &[CLIENT]);
    finish(&site, &mut agent);
}

/// How many places of sets are taken.
fn places(agent: &Agent) -> String {
    let reply = agent.api().reply("GET", "/metrics");
    let metrics = String::from_utf8(reply.body).expect("text");
    let sample = "proxyip_map_entries{map=\"SET_NAMES\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(sample));
    line.expect("the sample").to_owned()
}

/// The place of a set that has left is free, unless a rule still has its program.
#[test]
fn places_of_sets_that_have_left_are_freed() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", PORT);
    let guard = || Guard::ports(&[PORT]);
    let nobody = "cidrs = [\"192.0.2.1/32\"]";
    let blocked = || guard().set("blocked", &members(MEMBERS));
    let mut agent = Agent::start(&site, &blocked().set("a", nobody).set("b", nobody));
    let rule = commands(&site, "Named sets, for iptables", 0);
    apply_to_both(&site.net.server, &rule);
    assert_refused_and_served(&site, &[CLIENT], &[OTHER]);
    assert!(agent.reload(&guard()).contains("in force"));
    assert_eq!(places(&agent), "3");
    // The agent that learns of it is another one.
    agent.kill();
    agent.start_again();
    assert!(agent.reload(&guard().set("c", nobody)).contains("in force"));
    assert_eq!(places(&agent), "2", "c has a place, and blocked keeps its own");
    assert_refused_and_served(&site, &[], &[CLIENT, OTHER]);
    assert!(agent.reload(&blocked()).contains("in force"));
    assert_refused_and_served(&site, &[CLIENT], &[OTHER]);
    assert!(agent.reload(&guard()).contains("in force"));
    apply_to_both(&site.net.server, "iptables -F INPUT");
    assert!(agent.reload(&guard()).contains("in force"));
    assert_eq!(places(&agent), "0");
    finish(&site, &mut agent);
}

#[test]
fn a_set_of_another_namespace_has_a_pin_of_its_own() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", PORT);
    let name = site.net.server.name();
    let guard = Guard::ports(&[PORT]).set("blocked", &members(MEMBERS));
    let guard = guard.interface_setting(&format!("netns = \"/run/netns/{name}\""));
    let mut agent = Agent::start_in(&site.net.client, &site, &guard);
    let rule = commands(&site, "Named sets, for iptables", 0);
    let rule = rule.replace("match/blocked", &format!("match/blocked@{name}"));
    apply_to_both(&site.net.server, &rule);
    assert_refused_and_served(&site, &[CLIENT, CLIENT6], &[OTHER, OTHER6]);
    finish(&site, &mut agent);
}

/// A rule refuses some clients. While nobody else comes, this looks like a rule that refuses the hand-off. Rules
/// judge translated connections, too.
#[test]
fn clients_are_refused_when_auto_has_turned_to_translate() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", PORT);
    let guard = Guard::ports(&[PORT]).set("office", &office());
    let mut agent = Agent::start(&site, &guard);
    apply_to_both(&site.net.server, &commands(&site, "Named sets, for iptables", 1));
    assert_refused_and_served(&site, &[OTHER], &[]);
    agent.wait_diagnostic("firewall rule");
    eventually("translate", || (agent.new_hand_off() == "translate").then_some(()));
    assert_refused_and_served(&site, &[OTHER, OTHER6], &[CLIENT, CLIENT6]);
    assert_ne!(agent.translated_for("stack_refuses"), 0);
    finish(&site, &mut agent);
}

/// As iptables was before nftables: each change of a table looks all pins of its rules up again.
#[test]
fn the_old_iptables_takes_sets_too() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", PORT);
    let guard = Guard::ports(&[PORT]).set("blocked", &members(MEMBERS));
    let mut agent = Agent::start(&site, &guard);
    let rule = commands(&site, "Named sets, for iptables", 0);
    apply_to_both(&site.net.server, &rule.replace("iptables", "iptables-legacy"));
    assert_refused_and_served(&site, &[CLIENT], &[OTHER]);
    fs::remove_file(site.scratch.pin_path().join("match/blocked")).expect("a pin");
    let mut change = site.net.server.command("iptables-legacy");
    assert!(!attempt(change.args(["-A", "INPUT", "-j", "ACCEPT"])).status.success());
    assert_refused_and_served(&site, &[CLIENT], &[OTHER]);
    finish(&site, &mut agent);
}
