//! Where to attach.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::config::{FilePattern, Interface, Names, Namespaces, Netns, Xdp};

/// What the entries of a configuration want of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) netns: Netns,
    /// An entry names the namespace itself, so that it must be there.
    pub(crate) is_named: bool,
    /// The interfaces that must be there.
    pub(crate) named: Vec<&'a str>,
    /// Those that are served if they are there.
    pub(crate) sought: Vec<&'a Names>,
    /// What entries say of XDP.
    pub(crate) xdp: Vec<(&'a Names, Xdp)>,
}

/// The namespaces in the order of the configuration. `files` lists those whose files match. A name wins over a pattern.
pub(crate) fn targets(
    interfaces: &[Interface],
    files: impl Fn(&FilePattern) -> Vec<PathBuf>,
) -> Vec<Target<'_>> {
    let mut targets: Vec<Target> = Vec::new();
    let mut places = HashMap::new();
    for Interface { name, netns, xdp } in interfaces {
        let (is_named, namespaces) = match netns {
            Namespaces::One(netns) => (true, vec![netns.clone()]),
            Namespaces::Like(pattern) => {
                (false, files(pattern).into_iter().map(Netns::Path).collect())
            }
        };
        for netns in namespaces {
            let at = *places.entry(netns).or_insert_with_key(|netns| {
                let (named, sought, xdp) = (Vec::new(), Vec::new(), Vec::new());
                targets.push(Target { netns: netns.clone(), is_named: false, named, sought, xdp });
                targets.len() - 1
            });
            targets[at].add(name, is_named);
            targets[at].xdp.push((name, *xdp));
        }
    }
    targets
}

/// Those that are there whatever the host is like: the namespaces that entries name themselves.
pub(crate) fn named(interfaces: &[Interface]) -> Vec<Target<'_>> {
    targets(interfaces, |_| Vec::new())
}

impl<'a> Target<'a> {
    fn add(&mut self, names: &'a Names, is_named: bool) {
        self.is_named |= is_named;
        match names {
            Names::One(name) if is_named => self.named.push(name),
            _ => self.sought.push(names),
        }
    }

    /// Whether an interface with this name, which is there, is to be served.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.named.contains(&name) || self.sought.iter().any(|sought| sought.contains(name))
    }

    /// Whether an entry has the name itself.
    pub(crate) fn names(&self, name: &str) -> bool {
        let is_it = |sought: &&&Names| matches!(sought, Names::One(one) if one == name);
        self.named.contains(&name) || self.sought.iter().any(|sought| is_it(&sought))
    }
}

/// What entries say of the interface with this name: a name wins over a pattern, and the first over those behind it.
pub(crate) fn xdp_of<'a>(
    entries: impl IntoIterator<Item = (&'a Names, Xdp)> + Clone,
    name: &str,
) -> Xdp {
    let is_it = |names: &Names| matches!(names, Names::One(one) if one == name);
    let named = entries.clone().into_iter().find(|(names, _)| is_it(names));
    let found = named.or_else(|| entries.into_iter().find(|(names, _)| names.contains(name)));
    found.map_or(Xdp::Off, |(_, xdp)| xdp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::tests::LEAST;

    fn config(interfaces: &[(&str, &str)]) -> Config {
        let entry = |(name, netns): &(&str, &str)| {
            format!("[[interface]]\nname = '{name}'\nnetns = '{netns}'\n")
        };
        let entries: String = interfaces.iter().map(entry).collect();
        Config::from_toml(&format!("{LEAST}{entries}")).unwrap()
    }

    fn path(name: &str) -> Netns {
        Netns::Path(format!("/run/netns/{name}").into())
    }

    #[test]
    fn each_namespace_is_there_once_with_all_that_entries_want_of_it() {
        let config = config(&[
            ("eth0", "/run/netns/cni-*"),
            ("eth1", "host"),
            ("eth*", "/run/netns/cni-a"),
            ("net1", "/run/netns/cni-a"),
        ]);
        let files = |_: &FilePattern| {
            ["cni-a", "cni-b"].map(|name| format!("/run/netns/{name}").into()).to_vec()
        };
        let targets = targets(&config.interfaces, files);
        let found: Vec<_> = targets
            .iter()
            .map(|one| (&one.netns, one.is_named, &*one.named, one.sought.len()))
            .collect();
        assert_eq!(
            found,
            [
                (&path("cni-a"), true, &["net1"][..], 2),
                (&path("cni-b"), false, &[][..], 1),
                (&Netns::Host, true, &["eth1"][..], 0),
            ]
        );
        for (name, wanted, named) in [
            ("eth0", true, true),
            ("eth7", true, false),
            ("net1", true, true),
            ("lo", false, false),
        ] {
            assert_eq!((targets[0].wants(name), targets[0].names(name)), (wanted, named), "{name}");
        }
    }

    #[test]
    fn what_a_pattern_would_find_is_not_named() {
        let config = config(&[("*", "/run/netns/*"), ("eth*", "host")]);
        let named = named(&config.interfaces);
        assert_eq!(named.len(), 1);
        assert_eq!((&named[0].netns, named[0].named.is_empty()), (&Netns::Host, true));
    }

    #[test]
    fn a_name_says_more_of_xdp_than_a_pattern() {
        let entries = "[[interface]]\nname = 'eth*'\nxdp = 'auto'\n\
                       [[interface]]\nname = 'eth1'\nxdp = 'native'\n\
                       [[interface]]\nname = 'eth2'\n";
        let config = Config::from_toml(&format!("{LEAST}{entries}")).unwrap();
        let [target] = &named(&config.interfaces)[..] else { panic!("one namespace") };
        for (name, expected) in
            [("eth0", Xdp::Auto), ("eth1", Xdp::Native), ("eth2", Xdp::Off), ("lo", Xdp::Off)]
        {
            assert_eq!(xdp_of(target.xdp.iter().copied(), name), expected, "{name}");
        }
    }
}
