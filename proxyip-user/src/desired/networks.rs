//! Lists of networks, with a value for each, as the kernel programs look them up.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proxyip_api::acl::Verdict;
use proxyip_common::settings::access;

use crate::config::{Listener, Networks, Set};

/// What a trie says of each network of one scope.
pub(crate) type Entries = BTreeMap<IpNet, u8>;

/// The rules that commands have made for one listener.
pub(crate) type Commands = BTreeMap<IpNet, Verdict>;

/// A listener's trusted sources: 1 for those that are trusted.
pub(crate) fn sources(trusted: &Networks) -> Entries {
    separate(trusted.iter().map(|network| (*network, 1)).collect(), 0)
}

/// A listener's verdicts on clients. What a command says goes before the configuration.
pub(crate) fn clients(listener: &Listener, commands: &Commands) -> Entries {
    let with = |networks: &'_ Networks, verdict: u8| -> Vec<(IpNet, u8)> {
        networks.iter().map(|network| (*network, verdict)).collect()
    };
    let by_command = commands
        .iter()
        .map(|(network, verdict)| (*network, value(*verdict) | access::FROM_COMMAND));
    let entries = with(&listener.allow, access::ALLOW)
        .into_iter()
        .chain(with(&listener.deny, access::DENY))
        .chain(by_command);
    separate(entries.collect(), value(otherwise(listener)))
}

/// The members of a set.
pub(crate) fn members(set: &Set) -> Entries {
    let entries = set.networks.iter().map(|network| (*network, access::ALLOW));
    separate(entries.collect(), access::DENY)
}

/// The verdict on clients that no network of the listener has. A command does not change it: to allow one client more
/// must not deny all others.
pub(crate) fn otherwise(listener: &Listener) -> Verdict {
    if listener.allow.is_given() { Verdict::Deny } else { Verdict::Allow }
}

pub(crate) const fn value(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Allow => access::ALLOW,
        Verdict::Deny => access::DENY,
    }
}

pub(crate) const fn verdict_of(value: u8) -> Verdict {
    if value & access::ALLOWED == 0 { Verdict::Deny } else { Verdict::Allow }
}

/// The verdict on exactly this network, if there is one.
pub(crate) fn value_of(listener: &Listener, commands: &Commands, network: &IpNet) -> Option<u8> {
    let has = |networks: &Networks| networks.iter().any(|one| one == network);
    match commands.get(network) {
        Some(verdict) => Some(value(*verdict) | access::FROM_COMMAND),
        None if has(&listener.deny) => Some(access::DENY),
        None if has(&listener.allow) => Some(access::ALLOW),
        None => None,
    }
}

/// Whether an IPv6 network has all IPv4-mapped addresses.
pub(crate) fn covers_ipv4(network: &IpNet) -> bool {
    let mapped: Ipv6Net = "::ffff:0:0/96".parse().expect("a network");
    matches!(network, IpNet::V6(network) if network.contains(&mapped))
}

/// IPv4 addresses are looked up IPv4-mapped. So an IPv6 network that contains `::ffff:0:0/96` would also match all of
/// IPv4. An exception prevents this.
fn separate(mut entries: Entries, otherwise: u8) -> Entries {
    if entries.keys().any(covers_ipv4) {
        entries.entry(Ipv4Net::default().into()).or_insert(otherwise);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn networks(texts: &[&str]) -> Networks {
        texts.iter().map(|text| net(text)).collect::<Vec<_>>().into()
    }

    #[test]
    fn all_of_ipv6_is_not_ipv4() {
        assert_eq!(sources(&networks(&["::/0"])).get(&net("0.0.0.0/0")), Some(&0));
        assert_eq!(sources(&networks(&["::/0", "0.0.0.0/0"])).get(&net("0.0.0.0/0")), Some(&1));
        assert_eq!(sources(&networks(&["fd00::/8"])).len(), 1);
    }

    #[test]
    fn all_of_ipv6_denied_leaves_ipv4_as_it_is() {
        let listener = Listener { deny: networks(&["::/0"]), ..Listener::default() };
        let entries = clients(&listener, &Commands::new());
        assert_eq!(entries.get(&net("0.0.0.0/0")), Some(&access::ALLOW));
        let listener = Listener {
            allow: networks(&["::/0"]),
            deny: networks(&["2001:db8::/32"]),
            ..Listener::default()
        };
        let entries = clients(&listener, &Commands::new());
        assert_eq!(entries.get(&net("0.0.0.0/0")), Some(&access::DENY));
    }

    #[test]
    fn commands_go_before_the_configuration() {
        let listener = Listener { allow: networks(&["10.0.0.0/8"]), ..Listener::default() };
        let commands = [("10.0.0.0/8", Verdict::Deny), ("192.0.2.0/24", Verdict::Allow)]
            .map(|(text, verdict)| (net(text), verdict));
        let entries = clients(&listener, &commands.into());
        assert_eq!(entries[&net("10.0.0.0/8")], access::FROM_COMMAND);
        assert_eq!(entries[&net("192.0.2.0/24")], access::ALLOW | access::FROM_COMMAND);
    }

    #[test]
    fn one_client_allowed_by_a_command_denies_nobody() {
        let open = Listener::default();
        assert_eq!(otherwise(&open), Verdict::Allow);
        let restricted = Listener { allow: networks(&["10.0.0.0/8"]), ..Listener::default() };
        assert_eq!(otherwise(&restricted), Verdict::Deny);
    }
}
