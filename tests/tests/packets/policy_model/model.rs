//! What should be in force.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use proxyip_api::acl::{Origin, Verdict};

use super::steps::{Listeners, Lists, networks};

/// What should be in force.
pub(super) struct Model {
    pub(super) listeners: Listeners,
    pub(super) commands: BTreeMap<(usize, IpNet), Verdict>,
}

impl Model {
    /// What commands have said of a listener waits for it while it is away.
    pub(super) fn reload(&mut self, listeners: Listeners) {
        self.listeners = listeners;
    }

    /// The rules of commands for a listener.
    pub(super) fn commands_of(&self, listener: usize) -> BTreeMap<IpNet, Verdict> {
        let of_listener = self.commands.iter().filter(|((of, _), _)| *of == listener);
        of_listener.map(|((_, network), verdict)| (*network, *verdict)).collect()
    }

    pub(super) fn lists(&self, listener: usize) -> Option<Lists> {
        self.listeners.iter().find_map(|(there, lists)| (*there == listener).then_some(*lists))
    }

    /// The rules of a listener: for each network the rule that counts.
    pub(super) fn rules(
        &self,
        listener: usize,
        lists: Lists,
    ) -> BTreeMap<IpNet, (Verdict, Origin)> {
        let mut rules = BTreeMap::new();
        for (list, verdict) in
            [(lists.allow.unwrap_or(0), Verdict::Allow), (lists.deny, Verdict::Deny)]
        {
            rules.extend(networks(list).map(|network| (network, (verdict, Origin::Configuration))));
        }
        for ((_, network), verdict) in self.commands.iter().filter(|((of, _), _)| *of == listener) {
            rules.insert(*network, (*verdict, Origin::Command));
        }
        rules
    }

    /// An empty list is as none.
    pub(super) fn otherwise(lists: Lists) -> Verdict {
        let given = networks(lists.allow.unwrap_or(0)).next().is_some();
        if given { Verdict::Deny } else { Verdict::Allow }
    }

    pub(super) fn verdict(&self, listener: usize, lists: Lists, client: IpAddr) -> Verdict {
        let rules = self.rules(listener, lists);
        let smallest =
            smallest(rules.iter().map(|(network, (verdict, _))| (*network, *verdict)), client);
        smallest.unwrap_or_else(|| Self::otherwise(lists))
    }
}

/// What belongs to the smallest network that has this address.
pub(super) fn smallest<T>(networks: impl Iterator<Item = (IpNet, T)>, ip: IpAddr) -> Option<T> {
    let ip = ip.to_canonical();
    let with = networks.filter(|(network, _)| network.contains(&ip));
    with.max_by_key(|(network, _)| network.prefix_len()).map(|(_, what)| what)
}
