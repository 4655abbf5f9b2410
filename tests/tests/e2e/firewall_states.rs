//! Rules of firewalls on marks, and on the states of connection tracking. Rules are those of `docs/firewalls.md`, as they are there.

use std::io::Write;
use std::time::Duration;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Site, eventually, header, reset, until};

use crate::common::{
    CLIENT, CLIENT6, DESTINATION, assert_echoed, auto_translate_and_observe, exchange, pattern,
    socket_address, trusted_dial, trusted_dial6,
};
use crate::firewall::{
    MEMBERS, PORT, apply, ask, assert_refused_and_served, commands, finish, is_answered,
};

auto_translate_and_observe!(
    all_packets_of_a_denied_connection_are_marked,
    stateful_rules_let_connections_through
);

const OTHER: &str = "198.51.100.8:51234";

/// Clients of [`MEMBERS`] are marked.
fn marking(hand_off: HandOff) -> Guard {
    let guard = Guard::ports(&[PORT]).hand_off(hand_off);
    guard.setting(&format!("deny = {MEMBERS}\ndenied = \"mark\""))
}

#[test]
fn nftables_refuse_what_is_marked() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", PORT);
    let mut agent = Agent::start(&site, &marking(HandOff::Auto));
    assert_refused_and_served(&site, &[], &[CLIENT, OTHER]);
    apply(&site.net.server, &commands(&site, "Marks, for nftables and iptables", 0));
    assert_refused_and_served(&site, &[CLIENT, CLIENT6], &[OTHER]);
    finish(&site, &mut agent);
}

#[test]
fn iptables_refuse_what_is_marked() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", PORT);
    let mut agent = Agent::start(&site, &marking(HandOff::Translate));
    let rule = commands(&site, "Marks, for nftables and iptables", 1);
    // Behind others, which accept what is established, it would come too late.
    for states in ["iptables", "ip6tables"] {
        let accept = "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT";
        site.net.server.run(&format!("{states} {accept}"));
        apply(&site.net.server, &rule.replace("iptables", states));
    }
    assert_refused_and_served(&site, &[CLIENT, CLIENT6], &[OTHER]);
    finish(&site, &mut agent);
}

/// All packets that netfilter sees are marked. Packets of the handshake are not, if they come before the header.
fn all_packets_of_a_denied_connection_are_marked(hand_off: HandOff) {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", PORT);
    let mut agent = Agent::start(&site, &marking(hand_off));
    let packets = count_marked(&site, 0x50);
    // The SYN.
    let before = u64::from(hand_off.label() != "accept");
    let mut unmarked = 0;
    for (dial, ends_in_order) in [
        (trusted_dial(PORT), true),
        (trusted_dial6(PORT), true),
        (trusted_dial(PORT), false),
        (trusted_dial6(PORT), false),
    ] {
        let stream = ask(&site, &dial, CLIENT);
        assert!(is_answered(&stream));
        if ends_in_order {
            assert_echoed(&stream, &pattern(1_000_000));
        } else {
            exchange(&stream);
            reset(stream);
        }
        unmarked += before;
        let peers = || agent.flows().len();
        eventually("the end", || (peers() == 0).then_some(()));
        let counts = packets();
        assert!(counts[0] > 5, "{counts:?}");
        assert_eq!(counts[0], counts[1] + unmarked, "{dial:?} ends in order: {ends_in_order}");
    }
    let stream = ask(&site, &trusted_dial(PORT), OTHER);
    assert!(is_answered(&stream));
    exchange(&stream);
    let marked = packets()[1];
    assert_echoed(&stream, &pattern(100_000));
    assert_eq!(packets()[1], marked);
    assert_eq!(agent.counter("marked"), 4);
    finish(&site, &mut agent);
}

/// Packets to the port so far: all, and those with all of these bits in their mark.
pub(crate) fn count_marked(site: &Site, bits: u32) -> impl Fn() -> [u64; 2] {
    let marked = format!("meta mark and {bits:#x} == {bits:#x}");
    let chain = format!(
        "type filter hook input priority raw; tcp dport {PORT} counter; tcp dport {PORT} {marked} counter;"
    );
    apply(&site.net.server, &format!("nft 'table inet count {{ chain input {{ {chain} }}; }}'"));
    || {
        let list = site.net.server.run("nft list chain inet count input");
        let counts = list.split("packets ").skip(1).filter_map(|rest| rest.split(' ').next());
        let counts: Vec<_> = counts.map(|count| count.parse().expect("a count")).collect();
        counts.try_into().expect("two counters")
    }
}

/// What a rule has marked before, here at the port of a bridge that the agent is attached to.
#[test]
fn other_bits_of_a_mark_stay() {
    let site = Site::without_captures();
    let server = &site.net.server;
    for command in [
        "addr flush dev eth0",
        "link set eth0 down",
        "link set eth0 name port0",
        "link add eth0 type bridge",
        "link set port0 master eth0",
        "link set port0 up",
        "link set eth0 up",
        "addr add 10.77.1.1/24 dev eth0",
    ] {
        server.ip(command);
    }
    let chain = "type filter hook ingress device port0 priority 0; meta mark set 0x140;";
    apply(server, &format!("nft 'table netdev before {{ chain marks {{ {chain} }}; }}'"));
    let _echo = EchoServer::start(&site.net.server, "::", PORT);
    let mut agent = Agent::start(&site, &marking(HandOff::Auto));
    let packets = count_marked(&site, 0x150);
    let stream = ask(&site, &trusted_dial(PORT), CLIENT);
    assert!(is_answered(&stream));
    assert_echoed(&stream, &pattern(100_000));
    let unmarked = u64::from(HandOff::Auto.label() != "accept");
    let [all, marked] = packets();
    assert_eq!((all > 20, marked), (true, all - unmarked));
    finish(&site, &mut agent);
}

/// The rules of both programs at once: a packet must pass those of both.
fn stateful_rules(site: &Site) -> String {
    let of_iptables = commands(site, "Rules on connection states", 0);
    let icmp = "ip6tables -A INPUT -p ipv6-icmp -j ACCEPT\n";
    let ipv6 = of_iptables.replace("iptables", "ip6tables");
    let of_nftables = commands(site, "Rules on connection states", 1);
    [&*of_iptables, icmp, &ipv6, "\n", &of_nftables].concat()
}

/// How many packets these rules have called invalid.
fn invalid(site: &Site) -> u64 {
    let by_iptables = |command: &str| {
        let list = site.net.server.run(&format!("{command} -nvxL INPUT"));
        let rule = list.lines().find(|line| line.contains("INVALID")).expect("the rule");
        rule.split_whitespace().next().expect("a count").parse::<u64>().expect("a count")
    };
    let list = site.net.server.run("nft list chain inet filter input");
    let rule = list.lines().find(|line| line.contains("invalid")).expect("the rule");
    let count = rule.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    let by_nftables: u64 = count.expect("a count").parse().expect("a count");
    by_iptables("iptables") + by_iptables("ip6tables") + by_nftables
}

/// Connections as they come work as without rules, and none of their packets is invalid.
fn stateful_rules_let_connections_through(hand_off: HandOff) {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "::", PORT);
    apply(&site.net.server, &stateful_rules(&site));
    let mut agent = Agent::start(&site, &Guard::ports(&[PORT]).hand_off(hand_off));
    let header = header::v1(socket_address(CLIENT), socket_address(DESTINATION));
    let question = b"who am I?\n".as_slice();
    let at_once = [&header, question].concat();
    let (half, rest) = header.split_at(20);
    for dial in [trusted_dial(PORT), trusted_dial6(PORT)] {
        for parts in [vec![&*at_once], vec![&*header, question], vec![half, rest, question]] {
            let mut stream = dial.open(&site.net.balancer);
            stream.set_nodelay(true).expect("TCP_NODELAY");
            for part in parts {
                stream.write_all(part).expect("cannot send");
                // So that each part is a segment, and is acknowledged before the next.
                std::thread::sleep(Duration::from_millis(30));
            }
            assert!(is_answered(&stream));
            // Several requests, and the end.
            for _ in 0..5 {
                exchange(&stream);
            }
            assert_echoed(&stream, &pattern(5000));
        }
    }
    site.assert_swift();
    let stream = ask(&site, &trusted_dial(PORT), CLIENT);
    assert!(is_answered(&stream));
    assert_echoed(&stream, &pattern(1_000_000));
    assert_eq!(invalid(&site), 0, "packets in state INVALID");
    if hand_off == HandOff::Auto {
        let changed = until(Duration::from_secs(5), || {
            (agent.new_hand_off() != hand_off.label()).then_some(())
        });
        assert_eq!(changed, None);
    }
    site.finish(&mut agent, &[]);
}
