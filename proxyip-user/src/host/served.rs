//! The network namespaces that the agent serves now. Everybody reads this list who looks into namespaces.

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Result, ensure};

use super::namespace::{self, Namespace};
use super::seen::Seen;
use crate::config::Netns;

/// The way into a namespace. It keeps no descriptor, which would keep the namespace alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entrance {
    netns: Netns,
    /// 0 where the kernel programs cannot read it.
    cookie: u64,
}

impl Entrance {
    pub(crate) const fn new(netns: Netns, cookie: u64) -> Self {
        Self { netns, cookie }
    }

    pub(crate) const fn netns(&self) -> &Netns {
        &self.netns
    }

    pub(crate) const fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Runs `work` on a thread in the namespace.
    ///
    /// # Errors
    /// If the file is gone, or stands for another namespace by now.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        Namespace::open(&self.netns)?.run(|| {
            self.check()?;
            work()
        })
    }

    /// Moves the calling thread into the namespace.
    ///
    /// # Errors
    /// Those of [`Entrance::run`]. The thread may be in the other namespace then.
    pub(crate) fn enter(&self) -> Result<()> {
        Namespace::open(&self.netns)?.enter()?;
        self.check()
    }

    fn check(&self) -> Result<()> {
        let same = self.cookie == 0 || namespace::cookie()? == self.cookie;
        ensure!(same, "{} stands for another network namespace by now", self.netns);
        Ok(())
    }
}

/// A namespace that is served.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) entrance: Entrance,
    pub(crate) seen: Arc<Seen>,
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
            served.add(Member { entrance: Entrance::new(netns, seen.cookie()), seen });
        }
        served
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(path: &str, cookie: u64) -> Member {
        let entrance = Entrance::new(Netns::Path(path.into()), cookie);
        Member { entrance, seen: Arc::new(Seen::new(cookie, 0)) }
    }

    #[test]
    fn a_snapshot_stays_as_it_was() {
        let served = Served::default();
        served.add(member("/a", 1));
        let before = served.now();
        served.add(member("/b", 2));
        let cookies = |members: &[Member]| -> Vec<_> {
            members.iter().map(|one| one.entrance.cookie()).collect()
        };
        assert_eq!((cookies(&before), cookies(&served.now())), (vec![1], vec![1, 2]));
    }

    #[test]
    fn an_entrance_leads_to_its_own_namespace_alone() {
        let path = Netns::Path("/proc/self/ns/net".into());
        let cookie = namespace::cookie().unwrap();
        let own = Entrance::new(path.clone(), cookie);
        assert_eq!(own.run(namespace::cookie).unwrap(), cookie);
        let other = Entrance::new(path, cookie + 1);
        let error = other.run(|| Ok(())).unwrap_err().to_string();
        assert!(error.contains("stands for another network namespace"), "{error}");
    }
}
