//! What may happen: networks, lists and listeners of a configuration, and what is done to an agent.

use ipnet::IpNet;
use proptest::prelude::*;
use proxyip_tests::networks::NETWORKS;

pub(super) const LISTENERS: [&str; 3] = ["web", "api", "mail"];

/// Some of the [`NETWORKS`], a bit for each.
pub(super) type List = u16;

pub(super) fn networks(list: List) -> impl Iterator<Item = IpNet> {
    let chosen = (0..NETWORKS.len()).filter(move |number| list >> number & 1 == 1);
    chosen.map(|number| NETWORKS[number].parse().expect("a network"))
}

/// What the configuration says of a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lists {
    pub(super) trusted: List,
    pub(super) allow: Option<List>,
    pub(super) deny: List,
}

impl Lists {
    /// A file that allows and denies the same network is refused: what is put into one list leaves the other.
    pub(super) fn toggle(&mut self, list: usize, network: usize) {
        let bit = 1 << network;
        match list {
            // The least that a file may have.
            0 => self.trusted = self.trusted ^ bit | 2,
            1 => {
                self.allow = Some(self.allow.unwrap_or(0) ^ bit);
                self.deny &= !bit;
            }
            _ => {
                self.allow = self.allow.map(|allow| allow & !bit);
                self.deny ^= bit;
            }
        }
    }
}

/// A listener by its place in [`LISTENERS`], in the order in which the file has them.
pub(super) type Listeners = Vec<(usize, Lists)>;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Reload(Listeners),
    /// With one network more or less in a list: of trusted sources, allowed or denied clients.
    Toggle(usize, usize, usize),
    /// Of a file that the agent must refuse.
    RefusedReload(Listeners),
    Set(usize, usize, bool),
    Remove(usize, usize),
    Sweep,
    /// The agent is killed, and another one started with the same file.
    Restart,
}

pub(super) fn listeners() -> impl Strategy<Value = Listeners> {
    // Most lists are short, so that clients are in no network or in few.
    let list = || prop_oneof![3 => (any::<u16>(), any::<u16>()).prop_map(|(a, b)| a & b), 1 => any::<u16>()];
    let lists = (list(), proptest::option::of(list()), list());
    let lists = lists.prop_map(|(trusted, allow, deny)| Lists {
        trusted: trusted | 2,
        allow,
        deny: deny & !allow.unwrap_or(0),
    });
    let names = proptest::sample::subsequence(vec![0, 1, 2], 1..=LISTENERS.len()).prop_shuffle();
    (names, proptest::collection::vec(lists, LISTENERS.len()))
        .prop_map(|(names, lists)| names.into_iter().zip(lists).collect())
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let listener = 0..LISTENERS.len();
    // On those of a whole family others depend.
    let network = prop_oneof![3 => 0..NETWORKS.len(), 1 => proptest::sample::select(vec![0, 7, 8])];
    prop_oneof![
        3 => listeners().prop_map(Step::Reload),
        5 => (listener.clone(), 0..3_usize, network.clone())
            .prop_map(|(listener, list, network)| Step::Toggle(listener, list, network)),
        1 => listeners().prop_map(Step::RefusedReload),
        5 => (listener.clone(), network.clone(), any::<bool>())
            .prop_map(|(listener, network, allow)| Step::Set(listener, network, allow)),
        4 => (listener, network).prop_map(|(listener, network)| Step::Remove(listener, network)),
        2 => Just(Step::Sweep),
        1 => Just(Step::Restart),
    ]
}
