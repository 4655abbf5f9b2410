//! Network namespaces: finding one, and entering it.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};
use socket2::{Domain, Socket, Type};

use super::roots::{self, Roots};
use crate::config::Netns;

sockopt_impl!(
    /// The cookie of the namespace that a socket is in.
    NetnsCookie,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64
);

/// The calling thread's namespace.
pub(super) const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// `None` for the namespace that the agent was started in.
    file: Option<File>,
}

impl Namespace {
    pub(crate) fn open(netns: &Netns) -> Result<Self> {
        let file = match netns {
            Netns::Host => None,
            Netns::Path(path) => Some(File::open(path).with_context(|| {
                format!("network namespace {} cannot be opened", path.display())
            })?),
        };
        Ok(Self { file })
    }

    /// The calling thread's own.
    pub(crate) fn own() -> Result<Self> {
        let file = File::open(OWN).context("the network namespace cannot be opened")?;
        Ok(Self { file: Some(file) })
    }

    /// The namespace with this cookie, if it still exists.
    pub(crate) fn with_cookie(wanted: u64) -> Option<Self> {
        let is_it = |namespace: &Self| namespace.run(cookie).is_ok_and(|cookie| cookie == wanted);
        all().map(|(_, namespace)| namespace).find(is_it)
    }

    /// The namespace with this inode number, if it still exists.
    pub(crate) fn with_inode(wanted: u64) -> Option<Self> {
        all().find_map(|(inode, namespace)| (inode == wanted).then_some(namespace))
    }

    /// Runs `work` on a thread in this namespace.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread here.
    pub(crate) fn enter(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        setns(file, CloneFlags::CLONE_NEWNET).context("the network namespace cannot be entered")
    }
}

/// The inode numbers of the namespaces that can be found, by whatever file. They are looked for once, when somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Living(OnceCell<HashSet<u64>>);

impl Living {
    /// Whether the namespace with this inode number still exists.
    pub(crate) fn has(&self, inode: u64) -> bool {
        self.0.get_or_init(|| all().map(|(inode, _)| inode).collect()).contains(&inode)
    }
}

/// The namespaces that a process is in or that a file stands for, with their inode numbers, each once.
fn all() -> impl Iterator<Item = (u64, Namespace)> {
    below(roots::now())
}

fn below(Roots { procfs, netns }: Roots) -> impl Iterator<Item = (u64, Namespace)> {
    let entries = |directory| fs::read_dir(directory).into_iter().flatten().flatten();
    let named = entries(netns).map(|entry| entry.path());
    let of_processes = entries(procfs).map(|entry| entry.path().join("ns/net"));
    let own = PathBuf::from("/proc/self/ns/net");
    let mut seen = HashSet::new();
    std::iter::once(own).chain(named).chain(of_processes).filter_map(move |path| {
        // The process may have ended meanwhile.
        let file = File::open(path).ok()?;
        let inode = file.metadata().ok()?.ino();
        seen.insert(inode).then_some((inode, Namespace { file: Some(file) }))
    })
}

/// The inode number of the calling thread's namespace. It is unique among existing namespaces.
pub(crate) fn inode() -> Result<u64> {
    let metadata = fs::metadata(OWN);
    Ok(metadata.context("the network namespace cannot be read")?.ino())
}

/// The cookie of the calling thread's namespace: unique while the host is up.
pub(crate) fn cookie() -> Result<u64> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).context("no socket")?;
    getsockopt(&socket, NetnsCookie).context("the network namespace's cookie cannot be read")
}

/// The cookie and the inode number of the calling thread's namespace, as names of pins have them.
pub(crate) fn own_numbers() -> [Option<u64>; 2] {
    [cookie().ok(), inode().ok()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_is_found() {
        let found = Namespace::with_inode(inode().unwrap()).expect("a namespace");
        assert_eq!(found.file.unwrap().metadata().unwrap().ino(), inode().unwrap());
        assert!(Namespace::with_inode(1).is_none());
        let living = Living::default();
        assert!(living.has(inode().unwrap()) && !living.has(1));
    }

    #[test]
    fn namespaces_are_looked_for_where_the_host_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let [procfs, netns] = ["proc", "netns"].map(|name| directory.path().join(name));
        let files = [procfs.join("7/ns/net"), netns.join("blue")];
        for file in &files {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            File::create(file).unwrap();
        }
        let found: HashSet<_> = below(Roots { procfs, netns }).map(|(inode, _)| inode).collect();
        let expected = files.map(|file| fs::metadata(file).unwrap().ino());
        assert_eq!(found, expected.into_iter().chain([inode().unwrap()]).collect());
    }
}
