//! An interface that goes, comes back or has another name is served within a second, or it is said that it is not.

use std::time::{Duration, Instant};

use proxyip_tests::{Agent, Guard, Pod, Site, eventually, turn};

use crate::common::{CLIENT, ask_names, assert_both, header_of_client};
use crate::common::{open_and_send, programs_at, socket_address};

/// What documents promise.
const PROMISED: Duration = Duration::from_secs(1);

/// A namespace whose `eth0` is guarded, and its agent.
struct Guarded<'a> {
    site: &'a Site,
    pod: Pod,
    agent: Agent<'a>,
}

impl<'a> Guarded<'a> {
    fn start(site: &'a Site) -> Self {
        let pod = Pod::start(site, 1);
        let interface = format!("[[interface]]\nname = \"eth0\"\nnetns = {:?}", Pod::path(site, 1));
        let guard = Guard::ports(&[80]).also_trusting(Pod::NETWORK).interface_setting(&interface);
        let guarded = Self { site, pod, agent: Agent::start(site, &guard) };
        guarded.assert_shown();
        guarded
    }

    /// Makes a change, after which the agent must say that the interface is missing.
    fn is_said_after(&self, change: &str) {
        let file = Pod::path(self.site, 1);
        self.pod.namespace.ip(change);
        promised(&format!("what is said after `{change}`"), || {
            let (code, said) = self.agent.api().request("GET", "/readyz");
            let said = said.to_string();
            code == 503 && said.contains("eth0") && said.contains(&file)
        });
    }

    /// Makes a change, after which the interface must be served, and nothing is missing.
    fn is_served_after(&self, what: &str, change: impl FnOnce()) {
        change();
        promised(what, || {
            self.agent.api().request("GET", "/readyz").0 == 200 && self.has_programs("eth0")
        });
        self.assert_shown();
    }

    fn has_programs(&self, name: &str) -> bool {
        programs_at(&self.pod.namespace, name).len() == 2
    }

    fn assert_shown(&self) {
        let stream = open_and_send(self.site, &self.pod.dial(), &header_of_client());
        assert_both(ask_names(&stream), socket_address(CLIENT));
    }
}

/// Waits for it no longer than a second.
fn promised(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    // The answer takes a moment, too.
    let asked = eventually(what, || {
        let asked = begun.elapsed();
        is_so().then_some(asked)
    });
    assert!(asked < PROMISED, "{what}: only after {asked:?}");
}

#[test]
fn an_interface_that_is_removed_and_made_again_is_said_and_served_within_a_second() {
    let _alone = turn::alone();
    let site = Site::without_captures();
    let mut guarded = Guarded::start(&site);
    guarded.is_said_after("link del eth0");
    guarded.is_served_after("made again", || Pod::make_link(&site, 1, &guarded.pod.namespace));
    guarded.agent.assert_healthy(&[]);
}

/// The programs are the device's, whatever it is called.
#[test]
fn an_interface_that_is_renamed_and_gets_its_name_back_stays_served() {
    let _alone = turn::alone();
    let site = Site::without_captures();
    let mut guarded = Guarded::start(&site);
    for change in ["eth0 name eth9", "eth9 name eth0"] {
        guarded.pod.namespace.ip(&format!("link set {change}"));
        let begun = Instant::now();
        while begun.elapsed() < PROMISED {
            guarded.assert_shown();
            assert_eq!(guarded.agent.api().request("GET", "/readyz").0, 200, "{change}");
        }
    }
    guarded.agent.assert_healthy(&[]);
}

#[test]
fn an_interface_that_moves_to_another_namespace_and_back_is_said_and_served_within_a_second() {
    let _alone = turn::alone();
    let site = Site::without_captures();
    let mut guarded = Guarded::start(&site);
    let home = guarded.pod.namespace.name().to_owned();
    let away = &site.net.client;
    guarded.is_said_after(&format!("link set eth0 netns {} name away0", away.name()));
    promised("nothing is attached to it there", || programs_at(away, "away0").is_empty());
    guarded.is_served_after("moved back", || {
        away.ip(&format!("link set away0 netns {home} name eth0"));
        Pod::give_address(1, &guarded.pod.namespace);
    });
    guarded.agent.assert_healthy(&[]);
}

#[test]
fn two_interfaces_that_swap_their_names_are_followed_within_a_second() {
    let _alone = turn::alone();
    let site = Site::without_captures();
    let mut guarded = Guarded::start(&site);
    let inside = &guarded.pod.namespace;
    inside.ip("link add eth1 type veth peer name other1");
    for swap in 0..2 {
        for change in ["eth0 name old0", "eth1 name eth0", "old0 name eth1"] {
            inside.ip(&format!("link set {change}"));
        }
        promised("the device with the name has the programs", || {
            guarded.has_programs("eth0") && programs_at(inside, "eth1").is_empty()
        });
        assert_eq!(guarded.agent.api().request("GET", "/readyz").0, 200, "swap {swap}");
    }
    // The second swap has undone the first one.
    guarded.assert_shown();
    guarded.agent.assert_healthy(&[]);
}
