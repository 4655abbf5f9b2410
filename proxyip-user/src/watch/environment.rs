//! What stands in the way of the accept hand-off: the kernel, and the namespaces' sysctls.

use std::sync::Arc;

use proxyip_common::counter::Obstacle;
use proxyip_common::settings::{MAX_ROUTES, NamespaceSettings};

use crate::config::Netns;
use crate::host::capability::Capability;
use crate::host::served::{Member, Served};
use crate::tables::fill::Fill;

/// What decides about the hand-off of connections, beside the configuration and themselves.
#[derive(Clone, Debug)]
pub struct Environment {
    limits: Arc<[String]>,
    has_kfunc: bool,
    served: Served,
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
    pub(crate) fn new(capability: &Capability, served: Served) -> Self {
        Self { limits: capability.limits().into(), has_kfunc: capability.assign.is_some(), served }
    }

    /// What the kernel cannot do, and the fallback that is taken; a line each.
    #[must_use]
    pub fn limits(&self) -> &[String] {
        &self.limits
    }

    /// Namespaces whose routes do not find room in the kernel programs' table; a sentence each.
    #[must_use]
    pub fn full_tables(&self) -> Vec<String> {
        let served = self.served.now();
        let left = served.iter().map(|one| (one.entrance.netns(), one.seen.routes_left()));
        let sentence = |(place, left): (&Netns, usize)| {
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
        let entries = self.served.now().iter().map(|one| one.seen.routes() as u64).sum();
        Fill { map: "ROUTES", entries, most: MAX_ROUTES.into() }
    }

    /// Whether a namespace has rules of NAT.
    pub(crate) fn has_nat(&self) -> bool {
        self.served.now().iter().any(|one| one.seen.nat_since_ns() != 0)
    }

    /// The namespace at a place in `NAMESPACES`, if it is served, and since when its rules of NAT are as they are: in
    /// nanoseconds of `CLOCK_MONOTONIC`, 0 without any.
    pub(crate) fn nat_of(&self, place: u32) -> Option<(Netns, u64)> {
        let served = self.served.now();
        let found = served.iter().find(|one| one.seen.place() == place);
        found.map(|one| (one.entrance.netns().clone(), one.seen.nat_since_ns()))
    }

    /// The namespace with this cookie, if it is served.
    #[must_use]
    pub fn netns(&self, cookie: u64) -> Option<Netns> {
        let served = self.served.now();
        let found = served.iter().find(|one| one.entrance.cookie() == cookie);
        found.map(|one| one.entrance.netns().clone())
    }

    /// What is in the way of the accept hand-off for all listeners.
    #[must_use]
    pub fn obstacle(&self) -> Option<LocatedObstacle> {
        if !self.has_kfunc {
            return Some(LocatedObstacle { obstacle: Obstacle::NoKfunc, netns: None });
        }
        let served = self.served.now();
        let several = served.len() > 1;
        served.iter().find_map(|Member { entrance, seen }| {
            let obstacle = forbids(seen.flags())?;
            Some(LocatedObstacle { obstacle, netns: several.then(|| entrance.netns().clone()) })
        })
    }
}

#[cfg(test)]
impl Environment {
    /// Namespaces, with their places and since when they have rules of NAT.
    pub(crate) fn with_nat(namespaces: &[(Netns, u32, u64)]) -> Self {
        use crate::host::seen::Seen;

        let namespaces = namespaces.iter().map(|(netns, place, since_ns)| {
            let seen = Seen::new(0, *place);
            seen.set_nat_since_ns(*since_ns);
            (netns.clone(), Arc::new(seen))
        });
        Self { limits: Arc::default(), has_kfunc: true, served: namespaces.collect() }
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
    use crate::host::seen::Seen;

    const FINE: u8 = NamespaceSettings::SYNCOOKIES | NamespaceSettings::CONNTRACK_LOOSE;

    fn environment(has_kfunc: bool, namespaces: &[(&str, u8)]) -> Environment {
        let namespaces =
            namespaces.iter().map(|(path, flags)| (Netns::Path(path.into()), Seen::of(*flags)));
        Environment { limits: Arc::default(), has_kfunc, served: namespaces.collect() }
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
