//! The directories with files of namespaces: whether files come or go.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};

use crate::config::{FilePattern, Interface, Namespaces, Netns};
use crate::host::matching::changed;

/// How long after a change to look closely: a namespace is mounted on its file only after the file has been made.
const MOMENT: Duration = Duration::from_secs(1);
/// How often to look then.
const TICK: Duration = Duration::from_millis(100);

/// When files came to the directories or left them.
#[derive(Default)]
pub(super) struct Directories {
    seen: BTreeMap<PathBuf, Option<SystemTime>>,
    until: Option<Instant>,
    /// Says at once that files come or go.
    notices: Option<Inotify>,
    /// It does so for all directories.
    is_told: bool,
    /// When it was found to have done so.
    heard_at: Option<Instant>,
}

impl Directories {
    /// Whether files have come or gone a moment ago.
    pub(super) fn have_changed(&mut self, interfaces: &[Interface]) -> bool {
        // Before the look: what comes after it is announced.
        self.listen(interfaces);
        let seen: BTreeMap<_, _> = directories(interfaces)
            .map(|directory| (directory.to_owned(), changed(directory)))
            .collect();
        let now = Instant::now();
        if seen != self.seen {
            self.seen = seen;
            self.until = Some(now + MOMENT);
        }
        self.until.is_some_and(|until| now < until)
    }

    /// How long not to look, if nothing is announced.
    pub(super) fn rest(&self, at_most: Duration) -> Duration {
        let is_calm = self.until.is_none_or(|until| until <= Instant::now());
        if is_calm && self.is_told && !self.is_deaf() { at_most } else { at_most.min(TICK) }
    }

    /// Is readable when files come or go.
    pub(super) fn notices(&self) -> Option<BorrowedFd<'_>> {
        self.notices.as_ref().filter(|_| !self.is_deaf()).map(AsFd::as_fd)
    }

    /// Something was announced a moment ago. A directory may be busy with files that nobody wants.
    fn is_deaf(&self) -> bool {
        self.heard_at.is_some_and(|at| at.elapsed() < TICK)
    }

    /// Has it announced what comes and goes, and forgets what has been announced. Each time anew: another directory may have
    /// the name by now.
    fn listen(&mut self, interfaces: &[Interface]) {
        let is_known = directories(interfaces).all(|one| self.seen.contains_key(one));
        if self.notices.is_none() || !is_known {
            self.notices = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok();
        }
        let Some(notices) = &self.notices else {
            self.is_told = false;
            return;
        };
        while notices.read_events().is_ok() {
            self.heard_at = Some(Instant::now());
        }
        self.is_told = directories(interfaces).all(|one| is_watched(notices, one));
    }
}

/// Whether the kernel announces what comes to a directory. Of processes it announces nothing.
fn is_watched(notices: &Inotify, directory: &Path) -> bool {
    let coming = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
    let going = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
    let itself = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
    statfs(directory).is_ok_and(|there| there.filesystem_type() != PROC_SUPER_MAGIC)
        && notices.add_watch(directory, coming | going | itself).is_ok()
}

/// Each once, if entries that name the same one come together.
fn directories(interfaces: &[Interface]) -> impl Iterator<Item = &Path> {
    let mut last = None;
    let all = interfaces.iter().filter_map(|one| directory(&one.netns));
    all.filter(move |one| last.replace(*one) != Some(*one))
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
    use std::fs::{self, File};

    use super::*;
    use crate::config::Config;
    use crate::config::tests::LEAST;
    use crate::mailbox::mailbox;

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

    #[test]
    fn what_the_kernel_announces_is_not_looked_for() {
        const LONG: Duration = Duration::from_mins(1);
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("own");
        let config = |directory: &Path| {
            let text = format!("{LEAST}[[interface]]\nnetns = '{}/*'\n", directory.display());
            Config::from_toml(&text).unwrap().interfaces
        };
        let begin = Instant::now();
        let (_, mailbox) = mailbox::<()>().unwrap();
        let mut directories = Directories::default();
        directories.have_changed(&config(&own));
        std::thread::sleep(MOMENT);
        assert!(!directories.have_changed(&config(&own)));
        assert_eq!(directories.rest(LONG), TICK, "it is not there");

        fs::create_dir(&own).unwrap();
        assert!(directories.have_changed(&config(&own)));
        std::thread::sleep(MOMENT);
        assert_eq!(directories.rest(LONG), LONG);
        File::create(own.join("pod")).unwrap();
        mailbox.wait(directories.notices(), LONG).unwrap();
        assert!(directories.have_changed(&config(&own)));
        directories.heard_at = Some(Instant::now() + LONG);
        assert!(directories.notices().is_none(), "what comes next can wait");
        directories.heard_at = None;
        std::thread::sleep(MOMENT);

        // The name stands for another directory.
        fs::rename(&own, directory.path().join("old")).unwrap();
        fs::create_dir(&own).unwrap();
        assert!(directories.have_changed(&config(&own)));
        std::thread::sleep(MOMENT);
        File::create(own.join("pod")).unwrap();
        mailbox.wait(directories.notices(), LONG).unwrap();
        assert!(directories.have_changed(&config(&own)));

        // The kernel announces nothing of processes.
        let of_processes = config(Path::new("/proc/self/ns"));
        directories.have_changed(&of_processes);
        std::thread::sleep(MOMENT);
        assert_eq!(directories.rest(LONG), TICK);
        assert!(begin.elapsed() < LONG, "nothing was announced");
    }
}
