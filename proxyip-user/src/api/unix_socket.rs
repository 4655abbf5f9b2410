//! A Unix socket to answer on.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{Gid, fchownat, getegid, geteuid};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::Access;

/// Connections that wait to be accepted at most; the kernel may have a lower limit (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A bound socket; its file goes with it.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    file: Identity,
    /// The directories that did not exist before, the innermost first.
    made: Vec<PathBuf>,
    settled: AtomicBool,
}

/// Device and inode.
type Identity = (u64, u64);

/// Other permissions of a socket's file. Unless they are kept, dropping this puts back those before.
#[derive(Debug)]
pub(crate) struct AccessChange {
    file: OwnedFd,
    before: Option<Access>,
}

impl UnixSocket {
    /// Binds `path` for those who have `access`. Makes its directory if it does not exist. Replaces a socket that
    /// nobody answers on, which a killed agent leaves.
    ///
    /// # Errors
    /// If somebody answers there, something else is there, or it cannot be bound.
    pub(crate) fn bind(path: &Path, access: Access) -> Result<Self> {
        let context = || format!("cannot bind the socket {}", path.display());
        let directories = || path.ancestors().skip(1);
        let made = directories().take_while(|there| !there.exists()).map(Path::to_owned);
        let made: Vec<_> = made.collect();
        if let Some(directory) = directories().next() {
            fs::create_dir_all(directory).with_context(context)?;
        }
        let bound = remove_stale(path).and_then(|()| {
            let listener = bind_closed(path)?;
            Ok((listener, identity(path)?))
        });
        let (listener, file) = bound.with_context(context).inspect_err(|_| remove(&made))?;
        let settled = AtomicBool::new(false);
        let socket = Self { listener, path: path.into(), file, made, settled };
        give(&own_socket(path).with_context(context)?, access).with_context(context)?;
        Ok(socket)
    }

    /// Whether whoever connects to this path comes here: the file may have been removed or replaced.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        self.path == path && identity(path).is_ok_and(|file| file == self.file)
    }

    /// Lets others connect.
    ///
    /// # Errors
    /// If the kernel does not let it; nothing has changed then.
    pub(crate) fn change(&self, access: Access) -> Result<AccessChange> {
        let context = || format!("cannot change who may connect to {}", self.path.display());
        let file = own_socket(&self.path).with_context(context)?;
        let status = fstat(&file)?;
        let group = Some(Gid::from_raw(status.st_gid));
        let before = Some(Access { mode: status.st_mode & 0o777, group });
        // Dropped, it undoes a change that was made by half.
        let change = AccessChange { file, before };
        let group = access.group.or_else(|| Some(getegid()));
        give(&change.file, Access { group, ..access }).with_context(context)?;
        Ok(change)
    }

    /// The agent has started, or the reload is in force: the directories that were made stay.
    pub(crate) fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// A second handle of the socket. It does not block.
    pub(crate) fn try_clone(&self) -> Result<UnixListener> {
        Ok(self.listener.try_clone()?)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Best effort: a file that stays is replaced by the next agent. Another socket may have taken the place.
        if self.is_at(&self.path) {
            fs::remove_file(&self.path).ok();
        }
        // An agent that does not start leaves nothing behind, nor does a reload that is refused. After another one the
        // directory may have an owner's mode.
        if !self.settled.load(Ordering::Relaxed) {
            remove(&self.made);
        }
    }
}

/// Removes directories, the innermost first. One that others use stays.
fn remove(directories: &[PathBuf]) {
    for directory in directories {
        fs::remove_dir(directory).ok();
    }
}

impl AccessChange {
    /// Leaves it as it is now.
    pub(crate) fn keep(mut self) {
        self.before = None;
    }
}

impl Drop for AccessChange {
    fn drop(&mut self) {
        if let Some(before) = self.before
            && let Err(error) = give(&self.file, before)
        {
            tracing::error!("the permissions of a socket of the API stay changed: {error:#}");
        }
    }
}

fn identity(path: &Path) -> Result<Identity> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Binds a socket that only its owner may connect to until that is changed. It does not block.
fn bind_closed(path: &Path) -> Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    // The file gets the socket's own permissions
    // (unix_bind_bsd() in <https://github.com/torvalds/linux/blob/v6.12/net/unix/af_unix.c>).
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(OwnedFd::from(socket).into())
}

/// Opens a socket's file before it is changed, so that nobody who may change the directory gets another file changed.
fn own_socket(path: &Path) -> Result<OwnedFd> {
    let file = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    let status = fstat(&file)?;
    let is_socket = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK;
    ensure!(is_socket && status.st_uid == geteuid().as_raw(), "another file has taken its place");
    Ok(file)
}

/// Gives the socket's file its group and mode.
fn give(file: &OwnedFd, access: Access) -> Result<()> {
    fchownat(file, "", None, access.group, AtFlags::AT_EMPTY_PATH)?;
    // The kernel changes the mode by the name of this descriptor only.
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(fs::set_permissions(name, Permissions::from_mode(access.mode))?)
}

/// Removes a socket that nobody answers on. Does not wait for an agent that hangs.
fn remove_stale(path: &Path) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        bail!("there is a file that is no socket");
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => bail!("another agent answers on it"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            bail!("another agent has it, and does not answer")
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).context("a stale socket is in the way")
        }
        Err(error) => Err(error).context("a socket is in the way"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path) -> Result<UnixSocket> {
        UnixSocket::bind(path, Access::default())
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/api.sock");
        let socket = bind(&path).unwrap();
        socket.settle();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        // As a killed agent leaves it: the descriptor closed, the file in place.
        fs::rename(&path, directory.path().join("kept")).unwrap();
        drop(socket);
        fs::rename(directory.path().join("kept"), &path).unwrap();
        drop(bind(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn an_agent_that_never_answers_leaves_no_directory() {
        let directory = tempfile::tempdir().unwrap();
        let [outer, path] = ["made", "made/inner/api.sock"].map(|name| directory.path().join(name));
        for (serves, stays) in [(false, false), (true, true)] {
            let socket = bind(&path).unwrap();
            let beside = bind(&path.with_file_name("lookup.sock")).unwrap();
            if serves {
                socket.settle();
            }
            drop((beside, socket));
            assert_eq!(outer.exists(), stays);
        }
        drop(bind(&path).unwrap());
        assert!(outer.exists(), "it was there before");
        let long = directory.path().join("long").join("x".repeat(120));
        bind(&long).unwrap_err();
        assert!(!directory.path().join("long").exists(), "no socket has so long a path");
    }

    #[test]
    fn mode_and_group_are_as_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lookup.sock");
        let group = Some(nix::unistd::getegid());
        let _socket = UnixSocket::bind(&path, Access { mode: 0o606, group }).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o606);
        assert_eq!(Some(metadata.gid()), group.map(nix::unistd::Gid::as_raw));
    }

    #[test]
    fn another_mode_is_undone_unless_it_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let socket = bind(&path).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let change = || socket.change(Access { mode: 0o600, group: None }).unwrap();
        let undone = change();
        assert_eq!(mode(), 0o600);
        drop(undone);
        assert_eq!(mode(), 0o660);
        change().keep();
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn a_socket_whose_file_was_replaced_leaves_the_other_one_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let old = bind(&path).unwrap();
        assert!(old.is_at(&path) && !old.is_at(&directory.path().join("other")));
        fs::remove_file(&path).unwrap();
        assert!(!old.is_at(&path));
        let new = bind(&path).unwrap();
        assert!(new.is_at(&path) && !old.is_at(&path));
        drop(old);
        assert!(new.is_at(&path));
    }

    #[test]
    fn a_file_in_the_place_of_the_socket_is_not_changed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, precious) = (directory.path().join("api.sock"), directory.path().join("file"));
        fs::write(&precious, "").unwrap();
        let mode = || fs::metadata(&precious).unwrap().permissions().mode();
        let before = mode();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        assert!(own_socket(&path).is_err());
        fs::rename(&precious, &path).unwrap();
        assert!(own_socket(&path).is_err());
        fs::rename(&path, &precious).unwrap();
        assert_eq!(mode(), before);
    }

    #[test]
    fn a_living_socket_or_another_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let living = bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert!(format!("{error:#}").ends_with("another agent answers on it"), "{error:#}");
        drop(living);
        fs::write(&path, "precious").unwrap();
        let error = bind(&path).unwrap_err();
        assert!(format!("{error:#}").contains(path.to_str().unwrap()), "{error:#}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
