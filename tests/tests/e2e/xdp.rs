//! The program at XDP in front of the ingress program. A veth shows both modes; the other end needs a program of its own, or
//! the kernel drops what is sent back at native XDP. Polling (`ethtool -K DEV gro on`) is not enough: then nothing wakes the
//! other end for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use proxyip_api::status::XdpJson;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Batches, Dial, Guard, HandOff, Plan, Site, address, eventually, run};

use crate::common::{CLIENT, CLIENT6, ask_names, assert_both, exchange, header_of_client};
use crate::common::{header_of_client6, open_and_send, socket_address, trusted_dial};

/// A network whose server does not take the tags of VLANs off.
fn site() -> Site {
    let site = Site::without_captures();
    site.net.server.run("ethtool -K eth0 rxvlan off");
    site
}

fn guard(xdp: &str) -> Guard {
    Guard::ports(&[80]).interface_setting(&format!("xdp = {xdp:?}"))
}

/// What `status` says of the interface.
fn at_xdp(agent: &Agent) -> XdpJson {
    let status = agent.status();
    let [interface] = &status.interfaces[..] else { panic!("{:?}", status.interfaces) };
    interface.xdp.clone().expect("a wish for a program at XDP")
}

fn assert_at(agent: &Agent, mode: &str) {
    let said = at_xdp(agent);
    assert_eq!((&*said.mode, said.reason), (mode, None));
    let metrics = String::from_utf8(agent.api().reply("GET", "/metrics").body).expect("text");
    let line = format!("proxyip_xdp{{interface=\"eth0\",netns=\"host\",mode=\"{mode}\"}} 1");
    assert!(metrics.contains(&line), "{metrics}");
    let text = agent.ask(&["status"]).stdout;
    assert!(text.contains(&format!("eth0, and at {mode} XDP")), "{text}");
}

/// Asserts that nothing runs at XDP, for a reason that has these words; TC guards all the same.
fn assert_refused(agent: &Agent, words: &str) {
    let said = at_xdp(agent);
    assert_eq!(said.mode, "none");
    let reason = said.reason.expect("a reason");
    assert!(reason.contains(words), "{reason}");
    let text = agent.ask(&["status"]).stdout;
    assert!(text.contains(words), "{text}");
    assert_eq!(agent.api().request("GET", "/readyz").0, 200);
}

/// Connections show their client, and are used.
fn assert_served(site: &Site, count: usize) {
    for _ in 0..count {
        let stream = open_and_send(site, &trusted_dial(80), &header_of_client());
        assert_both(ask_names(&stream), socket_address(CLIENT));
        exchange(&stream);
    }
}

/// How many SYNs were answered, and bare ACKs held back: at XDP, and at all.
fn counted(agent: &Agent) -> [u64; 4] {
    ["syn_answered_at_xdp", "syn_answered", "ack_deferred_at_xdp", "ack_deferred"]
        .map(|label| agent.counter(label))
}

fn handshakes_are_made_at(mode: &str) {
    let site = site();
    let _peer = (mode == "native").then(|| Batches::on(&site.net.balancer, "eth1"));
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard(mode));
    assert_at(&agent, mode);
    assert_served(&site, 10);
    let [at_xdp, all, held_at_xdp, held] = counted(&agent);
    // The first shows the way back. On a slow machine others may have to show it again.
    assert!(at_xdp >= 5 && all == 10, "{at_xdp} of {all} SYNs");
    assert!(held_at_xdp >= 5 && held == 10, "{held_at_xdp} of {held} ACKs");
    assert_eq!(agent.counter("established"), 10);
    site.finish(&mut agent, &[]);
}

#[test]
fn handshakes_are_made_in_the_driver() {
    handshakes_are_made_at("native");
}

#[test]
fn handshakes_are_made_behind_the_driver() {
    handshakes_are_made_at("generic");
}

fn jumbo_frames_pass_at(mode: &str) {
    let site = Site::with(&Plan { mtu: 9001, ..Plan::default() });
    site.net.server.run("ethtool -K eth0 rxvlan off");
    let _peer = Batches::of_jumbo_frames(&site.net.balancer, "eth1");
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard(mode));
    assert_at(&agent, mode);
    // What is exchanged fits in one frame of several buffers.
    assert_served(&site, 10);
    let [at_xdp, all, ..] = counted(&agent);
    assert!(at_xdp >= 5 && all == 10, "{at_xdp} of {all} SYNs");
    site.finish(&mut agent, &[]);
}

#[test]
fn jumbo_frames_pass_in_the_driver() {
    jumbo_frames_pass_at("native");
}

#[test]
fn jumbo_frames_pass_behind_the_driver() {
    jumbo_frames_pass_at("generic");
}

#[test]
fn handshakes_over_ipv6_are_made_at_xdp() {
    let site = site();
    let _peer = Batches::on(&site.net.balancer, "eth1");
    let _echo = EchoServer::start(&site.net.server, address::SERVER6, 80);
    let mut agent = Agent::start(&site, &guard("native"));
    let dial = Dial::to(address::SERVER6, 80).from(address::BALANCER6, 0);
    for _ in 0..5 {
        let stream = open_and_send(&site, &dial, &header_of_client6());
        assert_both(ask_names(&stream), socket_address(CLIENT6));
    }
    let [at_xdp, all, ..] = counted(&agent);
    assert!(at_xdp >= 2 && all == 5, "{at_xdp} of {all} SYNs");
    site.finish(&mut agent, &[]);
}

#[test]
fn translated_connections_are_left_to_tc() {
    let site = site();
    let _peer = Batches::on(&site.net.balancer, "eth1");
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard("native").hand_off(HandOff::Translate));
    assert_at(&agent, "native");
    assert_served(&site, 5);
    assert_eq!(counted(&agent)[0], 0);
    site.finish(&mut agent, &[]);
}

/// One after another, each with its answer, until it is told to stop.
fn visit(site: &Site, stop: &AtomicBool, served: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        assert_served(site, 1);
        served.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn it_comes_and_goes_by_reloads_under_load() {
    let site = site();
    let _peer = Batches::on(&site.net.balancer, "eth1");
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard("off"));
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let visitors: Vec<_> =
            (0..2).map(|_| scope.spawn(|| visit(&site, &stop, &served))).collect();
        for xdp in ["native", "off", "generic", "native", "off", "native"] {
            let said = agent.reload(&guard(xdp));
            assert!(said.contains("the configuration is in force as it is now"), "{said}");
            if xdp != "off" {
                assert_at(&agent, xdp);
            }
            let before = served.load(Ordering::Relaxed);
            eventually("more visits", || {
                (served.load(Ordering::Relaxed) > before + 20).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
        for visitor in visitors {
            visitor.join().expect("no visit is lost");
        }
    });
    assert!(counted(&agent)[0] > 20, "{:?}", counted(&agent));
    agent.wait_counter("closed", served.into_inner());
    site.finish(&mut agent, &[]);
}

#[test]
fn the_program_of_another_is_not_replaced() {
    let site = site();
    let _peer = Batches::on(&site.net.balancer, "eth1");
    let other = Batches::on(&site.net.server, "eth0");
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard("native"));
    assert_refused(&agent, "another program is attached at XDP");
    assert_served(&site, 3);
    assert_eq!(counted(&agent)[0], 0);
    drop(other);
    assert_gone(&site);
    agent.reload(&guard("native"));
    assert_at(&agent, "native");
    assert_served(&site, 3);
    assert!(counted(&agent)[0] > 0);
    site.finish(&mut agent, &[]);
}

#[test]
fn auto_does_not_choose_a_veth_and_tags_must_stay() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard("auto"));
    assert_refused(&agent, "\"veth\"");
    assert_served(&site, 2);
    site.net.server.run("ethtool -K eth0 rxvlan on");
    agent.reload(&guard("native"));
    assert_refused(&agent, "rxvlan off");
    assert_served(&site, 2);
    site.finish(&mut agent, &[]);
}

/// What the kernel has at XDP of the server's interface.
fn link(site: &Site) -> String {
    site.net.server.ip("-details link show eth0")
}

#[test]
fn it_is_mended_kept_and_detached() {
    let site = site();
    let _peer = Batches::on(&site.net.balancer, "eth1");
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard("native"));
    let links = site.scratch.pin_path().join("links");
    let pin = || {
        let mut pins = std::fs::read_dir(&links).expect("links").map(|pin| pin.unwrap().path());
        pins.find(|pin| pin.to_string_lossy().contains("xdpnative-")).expect("a pin")
    };
    run("bpftool", &["link", "detach", "pinned", &pin().display().to_string()]);
    agent.wait_diagnostic("the program at XDP of eth0 was not attached any more");
    assert_at(&agent, "native");
    assert!(link(&site).contains("prog/xdp"), "{}", link(&site));
    // What an agent that ended has left is the next one's.
    agent.kill();
    assert!(link(&site).contains("prog/xdp"), "{}", link(&site));
    assert_served(&site, 3);
    agent.start_again();
    assert_at(&agent, "native");
    assert_served(&site, 3);
    // One that does not want it takes it away.
    agent.configure(&guard("off"));
    agent.kill();
    agent.start_again();
    assert_gone(&site);
    assert_served(&site, 3);
    site.finish(&mut agent, &[]);
}

fn assert_gone(site: &Site) {
    eventually("nothing is at XDP", || (!link(site).contains("prog/xdp")).then_some(()));
}

#[test]
fn detach_takes_it_away() {
    let site = site();
    let mut agent = Agent::start(&site, &guard("generic"));
    assert!(link(&site).contains("prog/xdp"), "{}", link(&site));
    agent.kill();
    let pins = site.scratch.pin_path().display().to_string();
    assert_eq!(agent.ask(&["detach", "--pin-path", &pins]).code, 0);
    assert_gone(&site);
}
