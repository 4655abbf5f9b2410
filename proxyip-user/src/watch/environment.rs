//! What stands in the way of the accept hand-off: the kernel, and the namespaces' sysctls.

use std::sync::Arc;

use proxyip_common::counter::Obstacle;
use proxyip_common::settings::{MAX_ROUTES, NamespaceSettings};

use crate::config::Netns;
use crate::host::capability::Capability;
use crate::host::seen::Seen;
use crate::tables::fill::Fill;

/// What decides about the hand-off of connections, beside the configuration and themselves.
#[derive(Clone, Debug)]
pub struct Environment {
    limits: Arc<[String]>,
    has_kfunc: bool,
    namespaces: Arc<[(Netns, Arc<Seen>)]>,
}

/// An obstacle to the accept hand-off, and the namespace that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedObstacle {
    /// What is in the way.
    pub obstacle: Obstacle,
    /// The namespace, if the agent serves several.
    pub netns: Option<Netns>,
}

impl Environment {
    pub(crate) fn new(capability: &Capability, namespaces: Vec<(Netns, Arc<Seen>)>) -> Self {
        Self {
            limits: capability.limits().into(),
            has_kfunc: capability.assign.is_some(),
            namespaces: namespaces.into(),
        }
    }

    /// What the kernel cannot do, and the fallback that is taken; a line each.
    #[must_use]
    pub fn limits(&self) -> &[String] {
        &self.limits
    }

    /// Namespaces whose routes do not find room in the kernel programs' table; a sentence each.
    #[must_use]
    pub fn full_tables(&self) -> Vec<String> {
        let left = self.namespaces.iter().map(|(netns, seen)| (netns, seen.routes_left()));
        let sentence = |(netns, left): (&Netns, usize)| {
            let place = match netns {
                Netns::Host => "the agent's network namespace".into(),
                Netns::Path(path) => path.display().to_string(),
            };
            format!(
                "{left} routes of {place} find no room in the kernel programs' table: SYN-ACKs over them offer the \
                 MSS of a larger network's route or of the interface. Set an MTU or MSS on fewer routes"
            )
        };
        left.filter(|(_, left)| *left > 0).map(sentence).collect()
    }

    /// How full the kernel programs' table of routes is.
    #[must_use]
    pub fn routes(&self) -> Fill {
        let entries = self.namespaces.iter().map(|(_, seen)| seen.routes() as u64).sum();
        Fill { map: "ROUTES", entries, most: MAX_ROUTES.into() }
    }

    /// Whether a namespace has rules of NAT.
    pub(crate) fn has_nat(&self) -> bool {
        self.namespaces.iter().any(|(_, seen)| seen.nat_since_ns() != 0)
    }

    /// The namespace at a place in `NAMESPACES`, if it is served, and since when its rules of NAT are as they are: in
    /// nanoseconds of `CLOCK_MONOTONIC`, 0 without any.
    pub(crate) fn nat_of(&self, place: u32) -> Option<(&Netns, u64)> {
        let found = self.namespaces.iter().find(|(_, seen)| seen.place() == place);
        found.map(|(netns, seen)| (netns, seen.nat_since_ns()))
    }

    /// The namespace with this cookie, if it is served.
    #[must_use]
    pub fn netns(&self, cookie: u64) -> Option<&Netns> {
        let with_cookie = |(_, seen): &&(Netns, Arc<Seen>)| seen.cookie() == cookie;
        self.namespaces.iter().find(with_cookie).map(|(netns, _)| netns)
    }

    /// What is in the way of the accept hand-off for all listeners.
    #[must_use]
    pub fn obstacle(&self) -> Option<LocatedObstacle> {
        if !self.has_kfunc {
            return Some(LocatedObstacle { obstacle: Obstacle::NoKfunc, netns: None });
        }
        let several = self.namespaces.len() > 1;
        self.namespaces.iter().find_map(|(netns, seen)| {
            let obstacle = forbids(seen.flags())?;
            Some(LocatedObstacle { obstacle, netns: several.then(|| netns.clone()) })
        })
    }
}

#[cfg(test)]
impl Environment {
    /// Namespaces, with their places and since when they have rules of NAT.
    pub(crate) fn with_nat(namespaces: &[(Netns, u32, u64)]) -> Self {
        let namespaces = namespaces.iter().map(|(netns, place, since_ns)| {
            let seen = Seen::new(0, *place);
            seen.set_nat_since_ns(*since_ns);
            (netns.clone(), Arc::new(seen))
        });
        Self { limits: Arc::default(), has_kfunc: true, namespaces: namespaces.collect() }
    }
}

/// The sysctl that forbids the accept hand-off in a namespace with these flags.
pub(super) fn forbids(flags: u8) -> Option<Obstacle> {
    let needed = [
        (NamespaceSettings::SYNCOOKIES, Obstacle::SynCookiesOff),
        (NamespaceSettings::CONNTRACK_LOOSE, Obstacle::ConntrackStrict),
    ];
    needed.into_iter().find_map(|(flag, reason)| (flags & flag == 0).then_some(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: u8 = NamespaceSettings::SYNCOOKIES | NamespaceSettings::CONNTRACK_LOOSE;

    fn environment(has_kfunc: bool, namespaces: &[(&str, u8)]) -> Environment {
        let namespaces =
            namespaces.iter().map(|(path, flags)| (Netns::Path(path.into()), Seen::of(*flags)));
        Environment { limits: Arc::default(), has_kfunc, namespaces: namespaces.collect() }
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        for (environment, expected) in [
            (environment(true, &[("/a", FINE)]), None),
            (environment(false, &[("/a", FINE)]), Some((Obstacle::NoKfunc, None))),
            (
                environment(true, &[("/a", NamespaceSettings::CONNTRACK_LOOSE)]),
                Some((Obstacle::SynCookiesOff, None)),
            ),
            (
                environment(true, &[("/a", FINE), ("/b", NamespaceSettings::SYNCOOKIES)]),
                Some((Obstacle::ConntrackStrict, Some("/b"))),
            ),
        ] {
            let expected = expected.map(|(obstacle, netns)| LocatedObstacle {
                obstacle,
                netns: netns.map(|path: &str| Netns::Path(path.into())),
            });
            assert_eq!(environment.obstacle(), expected);
        }
    }
}
