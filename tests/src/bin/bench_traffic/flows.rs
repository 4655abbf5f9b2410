//! What a connection costs beside few and many flows in the table. For each, the agent is started anew.

use std::net::{Ipv4Addr, SocketAddr};

use proxyip_common::address::{Client, Local, Peer};
use proxyip_common::flow::{FlowKey, FlowRecord};
use proxyip_tests::{Agent, FlowTable, HandOff, Site, address, eventually};

use crate::clients::Clients;
use crate::generator::Use;
use crate::rivals::ACCEPT;
use crate::rounds::Effort;
use crate::{programs, rivals, scene};

const FEW: u32 = 1_000;
const MANY: u32 = 1_000_000;

/// How many flows there are, and how many the table has room for.
const TABLES: [(&str, u32, u32); 3] = [
    ("1,000 flows", FEW, 1 << 18),
    ("1,000 flows, again", FEW, 1 << 18),
    ("1,000,000 flows", MANY, 1 << 21),
];

/// The network of the peers that no connection has.
const PEERS: [u8; 2] = [10, 78];

/// Measures all in each round, and prints it.
pub(crate) fn measure(effort: Effort) {
    let site = scene::site();
    let _nginx = rivals::nginx(&site, &[ACCEPT]);
    for round in effort.rounds() {
        for &(name, number, room) in round.order(&TABLES) {
            let guard = scene::guard(ACCEPT)
                .hand_off(HandOff::Accept)
                .agent_setting(&format!("max_flows = {room}"));
            let mut agent = Agent::start(&site, &guard);
            fill(&site, number);
            stays(&site, number);
            let load =
                || scene::load(&site, (ACCEPT, Use::Once), Some(Clients::FEW), round.duration());
            let outcome = load();
            stays(&site, number);
            round.report(("flows", name), 1e6 / outcome.rate(), outcome.errors);
            programs::measure((&site, &mut agent), name, round, (load, outcome));
        }
    }
}

/// # Panics
/// When the table does not have this many flows of no connection.
fn stays(site: &Site, number: u32) {
    let made = |key: &FlowKey| key.peer.0.v4().is_some_and(|[a, b, ..]| [a, b] == PEERS);
    let count = FlowTable::of(site).count(made);
    assert_eq!(count, number as usize, "flows in the table");
}

/// Fills the table with flows that no connection stands for, like one that there was.
fn fill(site: &Site, number: u32) {
    let (stream, _) = scene::greet(site, ACCEPT, Some(Clients::FEW));
    let mut table = FlowTable::of(site);
    let (key, record) = eventually("a flow", || table.entries().first().copied());
    drop(stream);
    for index in 0..number {
        let client = SocketAddr::from((Ipv4Addr::from(0xc612_0000 + index), 40_000));
        let peer =
            SocketAddr::from((Ipv4Addr::new(PEERS[0], PEERS[1], 0, host(index)), port(index)));
        let local =
            SocketAddr::from((address::SERVER.parse::<Ipv4Addr>().expect("an address"), ACCEPT));
        let (peer, local) = (Peer::from(peer), Local::from(local));
        let record = FlowRecord { client: Client::from(client), ..record };
        table.insert(FlowKey { peer, local, ..key }, record);
    }
}

fn host(index: u32) -> u8 {
    1 + u8::try_from(index / 50_000).expect("some twenty")
}

fn port(index: u32) -> u16 {
    10_000 + u16::try_from(index % 50_000).expect("below 50,000")
}
