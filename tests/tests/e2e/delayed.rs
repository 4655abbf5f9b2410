//! What delays the packets that open a connection, so that its first segment comes before it: connections are served all
//! the same, the agent says so, and another hand-off avoids it.

use std::io::Write;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Site, address, eventually};

use crate::common::{
    CLIENT, ask_names, assert_both, header_of_client, open_and_send, trusted_dial,
};

/// What the finding names.
const EARLY: &str = "first segments of ";

/// As many as the agent judges by, and one more.
fn serve(site: &Site) {
    for _ in 0..6 {
        let stream = open_and_send(site, &trusted_dial(80), &header_of_client());
        assert_both(ask_names(&stream), crate::common::socket_address(CLIENT));
    }
}

fn wait_finding(agent: &Agent) {
    let found = eventually("a finding", || {
        agent.status().findings.into_iter().find(|finding| finding.contains(EARLY))
    });
    assert!(found.contains("docs/firewalls.md"), "{found}");
    agent.wait_diagnostic(EARLY);
}

/// The early segments are those that the finding counts.
fn finish(site: &Site, agent: &mut Agent) {
    let early = agent.numbers("drops").get("payload_without_socket").copied().unwrap_or(0);
    let drops = [("payload_without_socket", early)];
    site.finish(agent, if early == 0 { &[] } else { &drops });
}

/// As traffic shapers do for what comes in.
fn redirect_what_comes_in(site: &Site) {
    let server = &site.net.server;
    server.ip("link add ifb0 type ifb");
    server.ip("link set ifb0 up");
    server.run("tc qdisc add dev eth0 handle ffff: ingress");
    server.run(
        "tc filter add dev eth0 parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev ifb0",
    );
}

#[test]
fn accepted_through_another_interface() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(HandOff::Accept));
    redirect_what_comes_in(&site);
    serve(&site);
    wait_finding(&agent);
    finish(&site, &mut agent);
}

/// Translated connections are not late. What has a cookie already is served all the same.
#[test]
fn auto_translates_where_accepted_connections_are_late() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    redirect_what_comes_in(&site);
    let unused = [(); 6].map(|()| trusted_dial(80).open(&site.net.balancer));
    serve(&site);
    let line = agent.wait_diagnostic("were established late");
    assert!(line.contains("port 80") && line.contains("accept is tried again"), "{line}");
    let degraded = agent.listener().degraded;
    let degraded: Vec<_> = degraded.iter().map(|one| (one.port, &*one.reason)).collect();
    assert_eq!(degraded, [(80, "delayed")]);
    assert_eq!(agent.new_hand_off(), "translate");
    let found = agent.status().findings.concat();
    assert!(found.contains("accepted ones were established late"), "{found}");

    let early = || agent.numbers("drops").get("payload_without_socket").copied();
    // The agent may have noticed before the last of the first ones.
    let (before, translated) = (early(), agent.translated_for("delayed"));
    serve(&site);
    assert_eq!(agent.translated_for("delayed"), translated + 6);
    assert_eq!(early(), before, "none of these is sent again");
    for mut unused in unused {
        unused.write_all(&header_of_client()).expect("cannot send");
        assert_both(ask_names(&unused), crate::common::socket_address(CLIENT));
    }
    assert_eq!(agent.counter("established"), 18);
    // They are late, too, and the agent looks each second. The port waits no longer for that.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let degraded = agent.listener().degraded;
    assert!(degraded.iter().all(|one| one.retry_s <= 60), "{degraded:?}");
    assert_eq!(agent.translated_for("delayed"), translated + 6);
    finish(&site, &mut agent);
}

#[test]
fn translated_through_another_interface() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(HandOff::Translate));
    redirect_what_comes_in(&site);
    serve(&site);
    site.finish(&mut agent, &[]);
}

fn answer_with_synproxy(site: &Site, loose: &str) {
    let server = &site.net.server;
    server.sysctl("netfilter.nf_conntrack_tcp_loose", loose);
    for rule in [
        "-t raw -I PREROUTING -p tcp --dport 80 --syn -j CT --notrack",
        "-A INPUT -p tcp --dport 80 -m conntrack --ctstate INVALID,UNTRACKED -j SYNPROXY \
         --sack-perm --timestamp --wscale 7 --mss 1460",
        "-A INPUT -m conntrack --ctstate INVALID -j DROP",
    ] {
        server.run(&format!("iptables {rule}"));
    }
}

/// Its rules need strict connection tracking, with which connections are translated.
#[test]
fn translated_behind_synproxy() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    answer_with_synproxy(&site, "0");
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    serve(&site);
    wait_finding(&agent);
    finish(&site, &mut agent);
}

/// The kernel programs answer each SYN, so that SYNPROXY has nothing to do.
#[test]
fn accepted_before_synproxy() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    answer_with_synproxy(&site, "1");
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(HandOff::Accept));
    serve(&site);
    assert_eq!(agent.counter("syn_answered"), 6);
    site.finish(&mut agent, &[]);
}
