//! Namespaces in which a sysctl forbids the accept hand-off, or did so a moment ago.
//!
//! The agent sees a sysctl that changes within a second. The kernel refuses what is handed over in that second.

use proxyip_common::counter::Obstacle;

use super::environment::forbids;
use crate::host::served::Member;

/// For how many looks a sysctl that is right again explains that connections are missing: as many as a gap must last
/// before it counts, and one in which it may begin.
const REMEMBERED: usize = 4;

/// What forbids it where.
#[derive(Debug, Default)]
pub(super) struct Forbidden {
    namespaces: Vec<Once>,
}

#[derive(Debug)]
struct Once {
    namespace: u64,
    obstacle: Obstacle,
    /// Looks since it was seen.
    ago: usize,
}

impl Forbidden {
    /// Looks at what was last seen of the namespaces. Call it once a second.
    pub(super) fn look(&mut self, served: &[Member]) {
        self.namespaces.iter_mut().for_each(|one| one.ago += 1);
        for Member { seen, .. } in served {
            if let Some(obstacle) = forbids(seen.flags()) {
                self.namespaces.retain(|one| one.namespace != seen.cookie());
                self.namespaces.push(Once { namespace: seen.cookie(), obstacle, ago: 0 });
            }
        }
        self.namespaces.retain(|one| one.ago <= REMEMBERED);
    }

    /// What forbids it in the namespace with this cookie.
    pub(super) fn within(&self, namespace: u64) -> Option<Obstacle> {
        self.namespaces.iter().find(|one| one.namespace == namespace).map(|one| one.obstacle)
    }

    /// What forbids it in any of them.
    pub(super) fn anywhere(&self) -> Option<Obstacle> {
        self.namespaces.first().map(|one| one.obstacle)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proxyip_common::settings::NamespaceSettings;

    use super::*;
    use crate::config::Netns;
    use crate::host::seen::Seen;
    use crate::host::served::Served;

    #[test]
    fn what_was_forbidden_a_moment_ago_explains_a_gap_and_no_later_one() {
        const FINE: u8 = NamespaceSettings::SYNCOOKIES | NamespaceSettings::CONNTRACK_LOOSE;
        let namespaces = [Seen::new(1, 0), Seen::new(2, 1)].map(Arc::new);
        for one in &namespaces {
            one.set_flags(FINE);
        }
        let served = namespaces.iter().map(|seen| (Netns::Host, Arc::clone(seen)));
        let served = served.collect::<Served>().now();
        let mut forbidden = Forbidden::default();
        forbidden.look(&served);
        assert_eq!(forbidden.anywhere(), None);

        namespaces[1].set_flags(NamespaceSettings::CONNTRACK_LOOSE);
        forbidden.look(&served);
        namespaces[1].set_flags(FINE);
        for _ in 0..REMEMBERED {
            forbidden.look(&served);
            assert_eq!(forbidden.within(2), Some(Obstacle::SynCookiesOff));
            assert_eq!(forbidden.within(1), None);
        }
        forbidden.look(&served);
        assert_eq!(forbidden.anywhere(), None);
    }
}
