//! Files of networks are read again when they change.
//!
//! The agent looks at them once a second. Notifications do not follow the links that orchestrators swap, and some
//! file systems lose them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Config;

/// Distinguishes one content of a file from another: device, inode, time and size. `None` if the file cannot be
/// looked at.
type Look = Option<(u64, u64, i64, i64, u64)>;

/// After so many looks that each found a different file, the file is read anyway: it may be renamed into place again
/// and again.
const PATIENCE: u32 = 3;
/// After this many looks, a change that could not be put in force is tried again.
const RETRY: u32 = 30;

/// How the files looked. At first it knows none, and reports each once: they may have changed since they were read.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    files: BTreeMap<PathBuf, Watched>,
}

/// How one file looked.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    /// When it was read; `None` if never.
    read: Option<Look>,
    /// At the last look.
    last: Look,
    /// How many looks in a row have found another file in its place.
    renamed: u32,
    /// Looks until a failed change is tried again.
    retry: u32,
}

impl Watch {
    /// The files that have changed since they were read. A file that is being written is reported when the writing
    /// has ended. Reported files count as read.
    pub(crate) fn changed(&mut self, config: &Config) -> Vec<PathBuf> {
        let now: BTreeMap<_, _> =
            config.files().map(|path| (path.to_owned(), look(path))).collect();
        self.files.retain(|path, _| now.contains_key(path));
        let mut changed = Vec::new();
        for (path, look) in now {
            if self.files.entry(path.clone()).or_default().has_changed(look) {
                changed.push(path);
            }
        }
        if !changed.is_empty() {
            // One reading puts everything in force, or says everything that is wrong.
            changed.extend(self.failed());
        }
        changed
    }

    /// Those that wait for another try.
    fn failed(&mut self) -> impl Iterator<Item = PathBuf> {
        let waiting = self.files.iter_mut().filter(|(_, file)| file.retry > 0);
        waiting.map(|(path, file)| {
            file.retry = 0;
            path.clone()
        })
    }

    /// Has these reported again some time later, even if they look the same: something else may have kept the agent
    /// from taking them.
    pub(crate) fn retry(&mut self, paths: &[PathBuf]) {
        for path in paths {
            if let Some(file) = self.files.get_mut(path) {
                file.retry = RETRY;
            }
        }
    }
}

impl Watched {
    fn has_changed(&mut self, now: Look) -> bool {
        let settled = self.last == now;
        let renamed = !settled && self.last.is_some() && file_of(self.last) != file_of(now);
        self.renamed = if renamed { self.renamed + 1 } else { 0 };
        self.last = now;
        let due = self.retry == 1;
        self.retry = self.retry.saturating_sub(1);
        let ready = settled || self.renamed >= PATIENCE;
        if !ready || self.read == Some(now) && !due {
            return false;
        }
        (self.read, self.renamed, self.retry) = (Some(now), 0, 0);
        true
    }
}

/// Device and inode.
fn file_of(look: Look) -> Option<(u64, u64)> {
    look.map(|(device, inode, ..)| (device, inode))
}

/// Follows links, so that a link to another file is a change.
fn look(path: &Path) -> Look {
    let metadata = fs::metadata(path).ok()?;
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    Some((metadata.dev(), metadata.ino(), seconds, nanoseconds, metadata.size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_changed_when_it_has_settled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        fs::write(&path, "10.0.0.0/8\n").unwrap();
        let text = format!("[[listener]]\nports=[443]\ntrusted_file='{}'\n", path.display());
        let config = Config::from_toml(&text).unwrap();
        let mut watch = Watch::default();
        assert!(watch.changed(&config).is_empty());
        assert_eq!(watch.changed(&config), std::slice::from_ref(&path));
        assert!(watch.changed(&config).is_empty());
        fs::write(&path, "10.0.0.0/8\n10.1").unwrap();
        assert!(watch.changed(&config).is_empty(), "it may not be whole");
        fs::write(&path, "10.0.0.0/8\n192.0.2.0/24\n").unwrap();
        assert!(watch.changed(&config).is_empty(), "nor now");
        assert_eq!(watch.changed(&config), std::slice::from_ref(&path));
        assert!(watch.changed(&config).is_empty(), "once is enough");
        fs::remove_file(&path).unwrap();
        assert!(watch.changed(&config).is_empty());
        assert_eq!(
            watch.changed(&config),
            std::slice::from_ref(&path),
            "one that is gone is a change, too"
        );
        watch.retry(std::slice::from_ref(&path));
        let again = (0..RETRY).filter(|_| !watch.changed(&config).is_empty()).count();
        assert_eq!(again, 1, "what was wrong is tried again");
    }

    #[test]
    fn what_was_wrong_is_tried_again_with_the_next_change() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
        for path in [&a, &b] {
            fs::write(path, "10.0.0.0/8\n").unwrap();
        }
        let text = format!(
            "[[listener]]\nports=[443]\ntrusted_file='{}'\nallow_file='{}'\n",
            a.display(),
            b.display()
        );
        let config = Config::from_toml(&text).unwrap();
        let mut watch = Watch::default();
        for expected in [0, 2, 0] {
            assert_eq!(watch.changed(&config).len(), expected);
        }
        watch.retry(std::slice::from_ref(&a));
        fs::write(&b, "10.0.0.0/8\n192.0.2.0/24\n").unwrap();
        assert!(watch.changed(&config).is_empty(), "it may not be whole");
        assert_eq!(watch.changed(&config), [b, a]);
        assert!((0..RETRY).all(|_| watch.changed(&config).is_empty()), "once is enough");
    }

    #[test]
    fn a_file_that_is_replaced_at_every_look_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        let text = format!(
            "[[listener]]\nports=[443]\ntrusted=['10.0.0.0/8']\nallow_file='{}'\n",
            path.display()
        );
        fs::write(&path, "").unwrap();
        let config = Config::from_toml(&text).unwrap();
        let mut watch = Watch::default();
        let read = (0..9u8).filter(|round| {
            let new = directory.path().join("new");
            fs::write(&new, format!("10.{round}.0.0/16\n")).unwrap();
            // The old one stays for a while, so that its inode is not used again.
            fs::rename(&path, directory.path().join(round.to_string())).unwrap();
            fs::rename(&new, &path).unwrap();
            !watch.changed(&config).is_empty()
        });
        assert_eq!(read.count(), 2);
    }
}
