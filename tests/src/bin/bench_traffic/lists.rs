//! What a connection costs with long lists and many listeners. For each, the agent is started anew.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use proxyip_tests::{Agent, Guard, HandOff, Site, is_reset};

use crate::clients::Clients;
use crate::generator::Use;
use crate::rivals::ACCEPT;
use crate::rounds::{Effort, Round};
use crate::{programs, rivals, scene};

/// The networks that are denied: every other /24 from here on.
const FIRST: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 0);
const STEP: u32 = 512;
const MANY: u32 = 100_000;

/// One of each network between these. A search for it goes down to a network that differs in the last bit alone.
const CLIENTS: Clients = Clients { first: Ipv4Addr::new(11, 0, 1, 7), step: STEP, number: MANY };

const PREFIXES: [(&str, u32); 3] =
    [("no prefix", 0), ("no prefix, again", 0), ("100,000 prefixes", MANY)];

/// The last one is measured.
const LISTENERS: [(&str, u16); 4] = [
    ("1 listener", 1),
    ("1 listener, again", 1),
    ("100 listeners", 100),
    ("1,000 listeners", 1000),
];

/// The others guard ports from here on.
const OTHER_PORTS: u16 = 20_000;

/// Measures all in each round, and prints it.
pub(crate) fn measure(effort: Effort) {
    let site = scene::site();
    let _nginx = rivals::nginx(&site, &[ACCEPT]);
    for round in effort.rounds() {
        for &(name, number) in round.order(&PREFIXES) {
            let mut agent = Agent::start(&site, &with_prefixes(&site, number));
            denies(&site, number);
            contend(&site, &mut agent, ("prefixes", name), round);
        }
        for &(name, number) in round.order(&LISTENERS) {
            let mut agent = Agent::start(&site, &with_listeners(number));
            contend(&site, &mut agent, ("listeners", name), round);
        }
    }
}

fn contend(site: &Site, agent: &mut Agent<'_>, name: (&str, &str), round: Round) {
    let load = || scene::load(site, (ACCEPT, Use::Once), Some(CLIENTS), round.duration());
    let outcome = load();
    round.report(name, 1e6 / outcome.rate(), outcome.errors);
    programs::measure((site, agent), name.1, round, (load, outcome));
}

/// # Panics
/// When a client of the first or of the last of these networks is not denied.
fn denies(site: &Site, number: u32) {
    let ends = (number > 0).then(|| [0, number - 1]);
    for network in ends.into_iter().flatten() {
        let first = Ipv4Addr::from(u32::from(FIRST) + network * STEP + 7);
        let client = Clients { first, step: 0, number: 1 };
        let (stream, _) = scene::greet(site, ACCEPT, Some(client));
        assert!(is_reset(&stream), "{first} is not denied");
    }
}

fn with_prefixes(site: &Site, number: u32) -> Guard {
    let mut networks = String::new();
    for index in 0..number {
        let network = Ipv4Addr::from(u32::from(FIRST) + index * STEP);
        writeln!(networks, "{network}/24").expect("a String grows");
    }
    let file = site.scratch.write("deny", &networks);
    let guard = scene::guard(ACCEPT).hand_off(HandOff::Accept);
    if number == 0 { guard } else { guard.setting(&format!("deny_file = {file:?}")) }
}

fn with_listeners(number: u16) -> Guard {
    let other = |index: u16| scene::guard(OTHER_PORTS + index).named(&format!("other-{index}"));
    let room = format!("max_listeners = {}", number.max(256));
    let last = scene::guard(ACCEPT).hand_off(HandOff::Accept);
    if number == 1 {
        return last.agent_setting(&room);
    }
    let others = (1..number - 1).fold(other(0), |guards, index| guards.with(&other(index)));
    others.with(&last).agent_setting(&room)
}
