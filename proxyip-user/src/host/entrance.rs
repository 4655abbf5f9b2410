//! The way into a network namespace.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};

use super::capability::Capability;
use super::matching::stands_for_namespace;
use super::namespace::{self, Namespace};
use crate::config::Netns;

/// A file stands for another namespace than before.
#[derive(Debug, thiserror::Error)]
#[error("{0} stands for another network namespace by now")]
pub(crate) struct Replaced(Netns);

/// The way into a namespace. It keeps no descriptor, which would keep the namespace alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entrance {
    netns: Netns,
    /// 0 where the kernel programs cannot read it.
    cookie: u64,
    /// The inode number of the file. It belongs to no other namespace while this one exists.
    inode: u64,
    /// The directory that the file is in.
    directory: Option<Directory>,
}

/// Device and inode number of a directory. What is mounted over it has others.
type Directory = (u64, u64);

impl Entrance {
    /// Finds the namespace that the file stands for now.
    ///
    /// # Errors
    /// If there is none, or it cannot be entered.
    pub(crate) fn find(netns: &Netns, capability: &Capability) -> Result<Self> {
        Namespace::open(netns)?.run(|| {
            let cookie = if capability.netns_cookie { namespace::cookie()? } else { 0 };
            let (netns, inode, directory) = (netns.clone(), namespace::inode()?, directory(netns));
            Ok(Self { netns, cookie, inode, directory })
        })
    }

    pub(crate) const fn netns(&self) -> &Netns {
        &self.netns
    }

    pub(crate) const fn cookie(&self) -> u64 {
        self.cookie
    }

    pub(crate) const fn inode(&self) -> u64 {
        self.inode
    }

    /// Whether both lead to the same namespace.
    pub(crate) const fn leads_where(&self, other: &Self) -> bool {
        self.cookie == other.cookie && (self.cookie != 0 || self.inode == other.inode)
    }

    /// Whether the namespace has this cookie, or inode number.
    pub(crate) const fn is_number(&self, number: u64) -> bool {
        self.cookie == number || self.inode == number
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

    /// The same on the calling thread, which is at `home` before and after it.
    ///
    /// # Errors
    /// Those of [`Entrance::run`].
    ///
    /// # Panics
    /// If there is no way back: nothing more may be done here.
    pub(crate) fn visit<T>(&self, home: &Namespace, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let done = self.enter().and_then(|()| work());
        home.enter().expect("the agent's own namespace can be entered");
        done
    }

    /// The same as [`Entrance::run`]; `None` if the namespace is gone.
    ///
    /// # Errors
    /// Those of `work`.
    pub(crate) fn run_if_there<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<Option<T>> {
        match self.run(work) {
            Err(_) if !self.is_there() => Ok(None),
            done => done.map(Some),
        }
    }

    /// The namespace's file.
    ///
    /// # Errors
    /// If it is gone, or stands for another namespace by now.
    pub(crate) fn open(&self) -> Result<File> {
        let path = match &self.netns {
            Netns::Host => Path::new(namespace::OWN),
            Netns::Path(path) => path,
        };
        let file = File::open(path);
        let file = file.with_context(|| format!("{} cannot be opened", path.display()))?;
        self.check_that(file.metadata()?.ino() == self.inode)?;
        Ok(file)
    }

    /// Whether it is the calling thread's namespace.
    pub(crate) fn is_own(&self) -> bool {
        namespace::inode().is_ok_and(|inode| inode == self.inode)
    }

    /// Whether the file still stands for this namespace.
    pub(crate) fn is_there(&self) -> bool {
        match &self.netns {
            Netns::Host => true,
            Netns::Path(path) => fs::metadata(path).is_ok_and(|file| file.ino() == self.inode),
        }
    }

    /// Whether the file says nothing of the namespace any more: none is mounted on it, or the directory that it was in is not
    /// there. A file that was removed from its directory says that the namespace is to end.
    pub(crate) fn is_hidden(&self) -> bool {
        let Netns::Path(path) = &self.netns else { return false };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.directory != directory(&self.netns)
            }
            _ => !stands_for_namespace(path),
        }
    }

    /// Notes which directory the file is in now.
    pub(crate) fn note_directory(&mut self) {
        self.directory = directory(&self.netns);
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
        let same = match self.cookie {
            0 => namespace::inode()? == self.inode,
            cookie => namespace::cookie()? == cookie,
        };
        self.check_that(same)
    }

    fn check_that(&self, same: bool) -> Result<()> {
        if same { Ok(()) } else { Err(Replaced(self.netns.clone()).into()) }
    }
}

/// The directory of a file that stands for a namespace. That of a process goes with the process, so it says nothing.
fn directory(netns: &Netns) -> Option<Directory> {
    let path = netns.path()?.parent()?;
    let is_of_process = statfs(path).ok()?.filesystem_type() == PROC_SUPER_MAGIC;
    let directory = fs::metadata(path).ok().filter(|_| !is_of_process)?;
    Some((directory.dev(), directory.ino()))
}

#[cfg(test)]
impl Entrance {
    /// One to a file that need not be there.
    pub(crate) const fn of(netns: Netns, cookie: u64) -> Self {
        Self { netns, cookie, inode: 0, directory: None }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_entrance_leads_to_its_own_namespace_alone() {
        let path = Netns::Path("/proc/self/ns/net".into());
        let cookie = namespace::cookie().unwrap();
        let inode = namespace::inode().unwrap();
        let own = Entrance { netns: path.clone(), cookie, inode, directory: None };
        assert_eq!(own.run(namespace::cookie).unwrap(), cookie);
        assert!(own.is_there());
        // Old kernels have no cookies.
        for cookie in [cookie + 1, 0] {
            let other = Entrance { cookie, inode: inode + 1, ..own.clone() };
            let error = other.run(|| Ok(())).unwrap_err().to_string();
            assert!(error.contains("stands for another network namespace"), "{error}");
            assert_eq!(other.run_if_there(|| Ok(())).unwrap(), None);
        }
    }

    #[test]
    fn a_namespace_is_hidden_when_its_directory_or_its_mount_is_not_there() {
        let place = tempfile::tempdir().unwrap();
        let [directory, away] = ["netns", "away"].map(|name| place.path().join(name));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("pod");
        let mount = || symlink("/proc/self/ns/net", &path).unwrap();
        mount();
        let netns = Netns::Path(path.clone());
        let seen = self::directory(&netns);
        let mut entrance =
            Entrance { netns, cookie: 1, inode: namespace::inode().unwrap(), directory: seen };
        let is = || (entrance.is_there(), entrance.is_hidden());
        assert_eq!(is(), (true, false));
        fs::remove_file(&path).unwrap();
        symlink(place.path().join("nowhere"), &path).unwrap();
        assert_eq!(is(), (false, true), "a link to what is not there now");
        fs::remove_file(&path).unwrap();
        assert_eq!(is(), (false, false), "it was removed");
        File::create(&path).unwrap();
        assert_eq!(is(), (false, true), "nothing is mounted on it");
        fs::remove_file(&path).unwrap();
        fs::rename(&directory, &away).unwrap();
        assert_eq!(is(), (false, true), "the directory is not there");
        fs::create_dir(&directory).unwrap();
        assert_eq!(is(), (false, true), "another directory");
        mount();
        assert_eq!(is(), (true, false));
        entrance.note_directory();
        fs::remove_file(&path).unwrap();
        assert!(!entrance.is_hidden(), "it was removed from the other directory");
    }

    #[test]
    fn the_file_of_a_process_that_has_ended_is_not_hidden() {
        let netns = Netns::Path("/proc/4194305/ns/net".into());
        let directory = directory(&Netns::Path("/proc/self/ns/net".into()));
        assert_eq!(directory, None);
        assert!(!Entrance::of(netns, 1).is_hidden());
    }

    #[test]
    fn without_cookies_namespaces_are_told_by_their_inodes() {
        let of = |cookie, inode| Entrance { inode, ..Entrance::of(Netns::Host, cookie) };
        for (one, other, same) in [
            ((7, 1), (7, 1), true),
            ((7, 1), (8, 1), false),
            ((0, 1), (0, 1), true),
            ((0, 1), (0, 2), false),
        ] {
            assert_eq!(
                of(one.0, one.1).leads_where(&of(other.0, other.1)),
                same,
                "{one:?} {other:?}"
            );
        }
    }
}
