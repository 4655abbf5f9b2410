//! The directories with files of namespaces: whether files come or go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::config::{FilePattern, Interface, Namespaces, Netns};
use crate::host::matching::changed;

/// How long after a change to look closely: a namespace is mounted on its file only after the file has been made.
const MOMENT: Duration = Duration::from_secs(1);

/// When files came to the directories or left them.
#[derive(Debug, Default)]
pub(super) struct Directories {
    seen: BTreeMap<PathBuf, Option<SystemTime>>,
    until: Option<Instant>,
}

impl Directories {
    /// Whether files have come or gone a moment ago.
    pub(super) fn have_changed(&mut self, interfaces: &[Interface]) -> bool {
        let directories = interfaces.iter().filter_map(|one| directory(&one.netns));
        let seen: BTreeMap<_, _> =
            directories.map(|directory| (directory.to_owned(), changed(directory))).collect();
        let now = Instant::now();
        if seen != self.seen {
            self.seen = seen;
            self.until = Some(now + MOMENT);
        }
        self.until.is_some_and(|until| now < until)
    }
}

fn directory(netns: &Namespaces) -> Option<&Path> {
    match netns {
        Namespaces::One(Netns::Host) => None,
        Namespaces::One(Netns::Path(path)) => path.parent(),
        Namespaces::Like(FilePattern { directory, .. }) => Some(directory),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::config::Config;
    use crate::config::tests::LEAST;

    #[test]
    fn a_file_that_comes_is_a_change_for_a_moment() {
        let directory = tempfile::tempdir().unwrap();
        let netns = directory.path().join("*");
        let netns = netns.display();
        let config =
            Config::from_toml(&format!("{LEAST}[[interface]]\nnetns = '{netns}'\n")).unwrap();
        let mut directories = Directories::default();
        let mut have_changed = || directories.have_changed(&config.interfaces);
        assert!(have_changed());
        std::thread::sleep(MOMENT);
        assert!(!have_changed());
        File::create(directory.path().join("pod")).unwrap();
        assert!(have_changed());
    }
}
