//! Namespaces that cannot be served: why, and when they are tried again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use proxyip_api::finding::{Finding, FindingKind};

use super::looked::Looked;
use crate::config::Netns;
use crate::host::matching::stands_for_namespace;

/// How long a namespace rests after a failure. Each further failure doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest that it becomes.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Why a namespace is not served.
pub(super) struct Failed {
    error: String,
    /// The inode number of its file then: another namespace may get the name.
    inode: Option<u64>,
    /// It is served by another name.
    is_twice: bool,
    wait: Duration,
    next: Instant,
}

/// The namespace is served by another name.
#[derive(Debug, thiserror::Error)]
#[error("it is the one that is served as {0}: name it once")]
pub(super) struct Twice(pub(super) Netns);

impl Failed {
    /// It has failed now, and maybe before. It may be that it is served by another name.
    pub(super) fn again(
        netns: &Netns,
        before: Option<&Self>,
        (error, is_twice): (String, bool),
    ) -> Self {
        let inode = inode(netns);
        let before = before.filter(|before| before.inode == inode);
        let wait = before.map_or(FIRST_WAIT, |before| (before.wait * 2).min(LONGEST_WAIT));
        Self { error, inode, is_twice, wait, next: Instant::now() + wait }
    }

    /// Whether it is not to be tried now.
    pub(super) fn rests(&self, netns: &Netns, now: Instant) -> bool {
        now < self.next && self.inode == inode(netns)
    }

    /// Whether it is served by another name.
    pub(super) const fn is_twice(&self) -> bool {
        self.is_twice
    }

    pub(super) fn looked(&self) -> Looked {
        let mut looked = Looked::default();
        if self.is_twice {
            looked.remarks.push(Finding::new(FindingKind::NamespaceTwice, &*self.error));
        } else {
            looked.missing.push(Finding::new(FindingKind::NamespaceLost, &*self.error));
        }
        looked
    }
}

fn inode(netns: &Netns) -> Option<u64> {
    let Netns::Path(path) = netns else { return None };
    fs::metadata(path).ok().map(|file| file.ino())
}

/// Whether a namespace has this name now.
pub(super) fn is_there(netns: &Netns) -> bool {
    match netns {
        Netns::Host => true,
        Netns::Path(path) => stands_for_namespace(path),
    }
}
