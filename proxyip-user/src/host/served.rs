//! The network namespaces that the agent serves now. Everybody reads this list who looks into namespaces.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::entrance::Entrance;
use super::netstat;
use super::seen::Seen;
#[cfg(test)]
use crate::config::Netns;

/// How many namespaces are looked at in a second, though nothing is known to have changed. If there are very many, it is a
/// part of [`LONGEST_REST`] in each second.
pub(crate) const LOOKS_A_SECOND: usize = 8;
/// The longest that [`rest`] becomes, in seconds.
const LONGEST_REST: usize = 30;

/// How long a namespace that does not seem to change is not looked at, if so many are served.
pub(crate) fn rest(namespaces: usize) -> Duration {
    let rounds = namespaces.div_ceil(LOOKS_A_SECOND).clamp(1, LONGEST_REST);
    Duration::from_secs(rounds as u64)
}

/// How many of so many namespaces have their turn in a second.
pub(crate) fn turns(namespaces: usize) -> usize {
    namespaces.div_ceil(LONGEST_REST).max(LOOKS_A_SECOND)
}

/// A namespace that is served.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) entrance: Entrance,
    pub(crate) seen: Arc<Seen>,
}

impl Member {
    /// Counts now how often an accept queue was full: among many namespaces one is not looked at every second.
    pub(crate) fn count_overflows(&self) {
        let count = self.entrance.run_if_there(|| Ok(netstat::listen_overflows()));
        if let Ok(Some(count)) = count {
            self.seen.set_overflows(count);
        }
    }
}

/// The list. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served(Arc<RwLock<Arc<[Member]>>>);

impl Served {
    /// The namespaces as they are now.
    pub(crate) fn now(&self) -> Arc<[Member]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn add(&self, member: Member) {
        self.change(|members| members.push(member));
    }

    /// Takes the namespace with this cookie off the list.
    pub(crate) fn remove(&self, cookie: u64) {
        self.change(|members| members.retain(|one| one.entrance.cookie() != cookie));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Member>)) {
        let mut list = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut members = list.to_vec();
        change(&mut members);
        *list = members.into();
    }
}

#[cfg(test)]
impl FromIterator<(Netns, Arc<Seen>)> for Served {
    fn from_iter<T: IntoIterator<Item = (Netns, Arc<Seen>)>>(namespaces: T) -> Self {
        let served = Self::default();
        for (netns, seen) in namespaces {
            let entrance = Entrance::of(netns, seen.cookie());
            served.add(Member { entrance, seen });
        }
        served
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(path: &str, cookie: u64) -> Member {
        let entrance = Entrance::of(Netns::Path(path.into()), cookie);
        Member { entrance, seen: Arc::new(Seen::new(cookie, 0)) }
    }

    #[test]
    fn many_namespaces_are_looked_at_less_often() {
        for (namespaces, seconds, looks) in
            [(0, 1, 8), (1, 1, 8), (8, 1, 8), (9, 2, 8), (256, 30, 9), (1024, 30, 35)]
        {
            assert_eq!(rest(namespaces), Duration::from_secs(seconds), "{namespaces}");
            assert_eq!(turns(namespaces), looks, "{namespaces}");
        }
    }

    #[test]
    fn a_snapshot_stays_as_it_was() {
        let served = Served::default();
        served.add(member("/a", 1));
        served.add(member("/b", 2));
        let before = served.now();
        served.remove(1);
        let cookies = |members: &[Member]| -> Vec<_> {
            members.iter().map(|one| one.entrance.cookie()).collect()
        };
        assert_eq!((cookies(&before), cookies(&served.now())), (vec![1, 2], vec![2]));
    }
}
