//! The rules of a listener by name: where each verdict comes from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use proxyip_api::acl::{Origin, Rule, Verdict};

use super::networks::Commands;
use crate::config::{Listener, Networks};

/// Which rules are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Those of the networks behind this one.
    pub after: Option<IpNet>,
    /// How many at most.
    pub limit: usize,
}

/// The rules of a listener for the networks that are `wanted`: for each network the rule that counts.
pub(crate) fn rules(
    listener: &Listener,
    commands: &Commands,
    wanted: impl Fn(&IpNet) -> bool + Copy,
) -> BTreeMap<IpNet, Rule> {
    candidates(listener, commands, wanted).map(|rule| (rule.network, rule)).collect()
}

/// The first of the requested rules, and whether there are more. Lists may be long: only these are kept.
pub(crate) fn part(listener: &Listener, commands: &Commands, part: Part) -> (Vec<Rule>, bool) {
    let mut first = BTreeMap::new();
    let mut more = false;
    let behind = |network: &IpNet| part.after.is_none_or(|after| *network > after);
    for rule in candidates(listener, commands, behind) {
        let full = first.len() >= part.limit;
        match first.last_key_value() {
            Some((last, _)) if full && rule.network > *last => more = true,
            _ => {
                first.insert(rule.network, rule);
            }
        }
        if first.len() > part.limit {
            first.pop_last();
            more = true;
        }
    }
    (first.into_values().collect(), more)
}

/// Rules for the networks that are `wanted`; of several for a network the last one counts.
fn candidates<'a>(
    listener: &'a Listener,
    commands: &'a Commands,
    wanted: impl Fn(&IpNet) -> bool + Copy + 'a,
) -> impl Iterator<Item = Rule> + 'a {
    let lists = [(&listener.allow, Verdict::Allow), (&listener.deny, Verdict::Deny)];
    let configured = lists.into_iter().flat_map(move |(networks, verdict)| {
        sources(networks, wanted).map(move |(network, origin)| Rule { network, verdict, origin })
    });
    let commanded =
        commands.iter().filter(move |(network, _)| wanted(network)).map(|(network, verdict)| {
            Rule { network: *network, verdict: *verdict, origin: Origin::Command }
        });
    configured.chain(commanded)
}

/// The networks of a list that are `wanted`, and where each is from.
fn sources<'a>(
    networks: &'a Networks,
    wanted: impl Fn(&IpNet) -> bool + Copy + 'a,
) -> impl Iterator<Item = (IpNet, Origin)> + 'a {
    let from_file = networks.file.iter().flat_map(move |file| {
        let origin = |path: &PathBuf| Origin::File { file: path.clone() };
        let wanted = file.networks.iter().filter(move |network| wanted(network));
        wanted.map(move |network| (*network, origin(&file.path)))
    });
    let written = networks.written.iter().filter(move |network| wanted(network));
    // What is written goes before what is in the file.
    from_file.chain(written.map(|network| (*network, Origin::Configuration)))
}

/// The rule of the smallest network that has a client. Lists may be long: no rule is made of the others.
pub(crate) fn rule_for(listener: &Listener, commands: &Commands, client: IpAddr) -> Option<Rule> {
    let with_client = rules(listener, commands, |network| network.contains(&client));
    with_client.into_values().max_by_key(|rule| rule.network.prefix_len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn listener() -> Listener {
        let text = "[[listener]]\nname='web'\nports=[443]\ntrusted=['10.0.0.0/8']\n\
            allow='203.0.113.0/24, 2001:db8::/32'\ndeny=['203.0.113.128/25', '203.0.113.200/32']\n";
        Config::from_toml(text).unwrap().listeners.remove(0)
    }

    #[test]
    fn parts_together_are_all_rules() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        // One overrides the rule of the configuration, one is sorted before all others.
        let commands = Commands::from([
            (net("203.0.113.0/24"), Verdict::Deny),
            (net("10.0.0.0/8"), Verdict::Allow),
        ]);
        let all: Vec<_> = rules(&listener(), &commands, |_| true).into_values().collect();
        assert_eq!(all.len(), 5);
        for limit in 1..=6 {
            let (mut found, mut after, mut more) = (Vec::new(), None, true);
            while more {
                let rules;
                (rules, more) = part(&listener(), &commands, Part { after, limit });
                assert!(rules.len() == limit || !more, "{limit}: {rules:?}");
                after = rules.last().map(|rule| rule.network);
                found.extend(rules);
            }
            assert_eq!(found, all, "{limit}");
        }
    }

    #[test]
    fn the_smallest_network_counts_and_commands_go_first() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let commands = Commands::from([
            (net("203.0.113.200/32"), Verdict::Allow),
            (net("198.51.100.0/24"), Verdict::Allow),
        ]);
        for (client, expected) in [
            ("203.0.113.9", Some(("203.0.113.0/24", Verdict::Allow, Origin::Configuration))),
            ("203.0.113.129", Some(("203.0.113.128/25", Verdict::Deny, Origin::Configuration))),
            ("203.0.113.200", Some(("203.0.113.200/32", Verdict::Allow, Origin::Command))),
            ("198.51.100.7", Some(("198.51.100.0/24", Verdict::Allow, Origin::Command))),
            ("2001:db8::1", Some(("2001:db8::/32", Verdict::Allow, Origin::Configuration))),
            ("192.0.2.1", None),
            ("2001:db9::1", None),
        ] {
            let found = rule_for(&listener(), &commands, client.parse().unwrap());
            let expected = expected.map(|(network, verdict, origin)| Rule {
                network: net(network),
                verdict,
                origin,
            });
            assert_eq!(found, expected, "{client}");
        }
    }
}
