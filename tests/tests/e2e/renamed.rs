//! Devices that are renamed, or move to another namespace, and an agent that starts after that.

use std::collections::BTreeSet;
use std::fs;

use nix::net::if_::if_nametoindex;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, Namespace, Pod, Site, address, eventually};

use crate::common::{
    CLIENT, ask_names, assert_both, header_of_client, open_and_send, programs_at, socket_address,
};

const BOTH: [&str; 2] = ["proxyip_ingress", "proxyip_egress"];

fn guard(name: &str, netns: &str) -> Guard {
    let interface = format!("[[interface]]\nname = {name:?}\nnetns = {netns:?}");
    Guard::ports(&[80]).also_trusting(Pod::NETWORK).interface_setting(&interface)
}

fn pins(site: &Site) -> BTreeSet<String> {
    let pins = fs::read_dir(site.scratch.pin_path().join("links")).expect("pins of links");
    pins.map(|pin| pin.expect("a pin").file_name().display().to_string()).collect()
}

fn assert_shown(site: &Site, pod: &Pod) {
    let stream = open_and_send(site, &pod.dial(), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
}

fn names(agent: &Agent) -> Vec<String> {
    agent.status().interfaces.into_iter().map(|one| one.name).collect()
}

/// Another pin would be another link, and each packet would be handled twice until the first one goes.
#[test]
fn an_interface_that_was_renamed_keeps_its_links_when_the_agent_starts_again() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let pod = Pod::start(&site, 1);
    let mut agent = Agent::start(&site, &guard("eth*", &Pod::path(&site, 1)));
    assert_shown(&site, &pod);
    let before = pins(&site);
    pod.namespace.ip("link set eth0 name eth7");
    eventually("its new name", || names(&agent).contains(&"eth7".into()).then_some(()));
    agent.kill();
    agent.start_again();
    assert_eq!(pins(&site), before);
    assert_eq!(programs_at(&pod.namespace, "eth7"), BOTH);
    assert_shown(&site, &pod);

    // Another device gets the name that the pins have.
    pod.namespace.ip("link add eth0 type veth peer name peer0");
    eventually("the other device", || names(&agent).contains(&"eth0".into()).then_some(()));
    agent.kill();
    agent.start_again();
    for name in ["eth0", "eth7"] {
        assert_eq!(programs_at(&pod.namespace, name), BOTH, "{name}");
    }
    assert_eq!(pins(&site).len(), before.len() + BOTH.len());
    assert_shown(&site, &pod);
    site.finish(&mut agent, &[]);
}

/// A device takes its programs along, and keeps its number where it is free.
#[test]
fn a_device_with_the_number_of_one_that_has_moved_is_served() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let pod = Pod::start(&site, 1);
    let away = Namespace::new(format!("{}-away", site.scratch.name()));
    let mut agent = Agent::start(&site, &guard("eth0", &Pod::path(&site, 1)));
    assert_shown(&site, &pod);
    agent.kill();
    let index = |namespace: &Namespace| namespace.enter(|| if_nametoindex("eth0").expect("eth0"));
    let before = index(&pod.namespace);
    pod.namespace.ip(&format!("link set eth0 netns {}", away.name()));
    assert_eq!(index(&away), before);
    assert_eq!(programs_at(&away, "eth0"), BOTH);
    pod.namespace.ip(&format!("link add eth0 index {before} type veth peer name peer0"));
    agent.start_again();
    assert_eq!(programs_at(&pod.namespace, "eth0"), BOTH);
    assert_eq!(programs_at(&away, "eth0"), [""; 0]);
    site.finish(&mut agent, &[]);
}

fn is_at_xdp(namespace: &Namespace) -> bool {
    namespace.ip("-details link show eth0").contains("prog/xdp")
}

/// So does the program at XDP, which is left neither there nor out here.
#[test]
fn the_program_at_xdp_leaves_a_device_that_moves_and_comes_to_its_successor() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let pod = Pod::start(&site, 1);
    let interface = format!(
        "[[interface]]\nname = \"eth0\"\nnetns = {:?}\nxdp = \"generic\"",
        Pod::path(&site, 1)
    );
    let guard = Guard::ports(&[80]).also_trusting(Pod::NETWORK).interface_setting(&interface);
    for namespace in [&pod.namespace, &site.net.server] {
        namespace.run("ethtool -K eth0 rxvlan off");
    }
    let mut agent = Agent::start(&site, &guard);
    eventually("a program at XDP", || is_at_xdp(&pod.namespace).then_some(()));
    let index = |namespace: &Namespace| namespace.enter(|| if_nametoindex("eth0").expect("eth0"));
    // A device with another number, which the agent sees come and the other go at once; and one with the same number.
    for (round, is_same) in [false, true].into_iter().enumerate() {
        let away = Namespace::new(format!("{}-away{round}", site.scratch.name()));
        let before = index(&pod.namespace);
        if is_same {
            agent.kill();
        }
        let number = if is_same { format!("index {before} ") } else { String::new() };
        let batch = site.scratch.path("batch");
        let steps = format!(
            "link set eth0 netns {}\nlink add eth0 {number}type veth peer name peer{round}\n",
            away.name()
        );
        fs::write(&batch, steps).expect("a file");
        pod.namespace.ip(&format!("-batch {}", batch.display()));
        pod.namespace.run("ethtool -K eth0 rxvlan off");
        if is_same {
            assert!(is_at_xdp(&away), "it has moved with its device");
            agent.start_again();
        } else {
            // What was refused because of its tags rests for a while.
            agent.reload(&guard);
        }
        assert_eq!(index(&pod.namespace) == before, is_same);
        eventually("a program at XDP of the successor", || is_at_xdp(&pod.namespace).then_some(()));
        eventually("nothing is at XDP there", || (!is_at_xdp(&away)).then_some(()));
        let at_xdp = pins(&site).into_iter().filter(|pin| pin.starts_with("xdp"));
        assert_eq!(at_xdp.count(), 1, "{:?}", pins(&site));
    }
    site.finish(&mut agent, &[]);
}
