//! A Unix socket to answer on.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{fchownat, geteuid};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::Access;

/// Connections that wait to be accepted at most; the kernel may have a lower limit (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A bound socket; its file goes with it.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// The directories that did not exist before, the innermost first.
    made: Vec<PathBuf>,
    served: AtomicBool,
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
        remove_stale(path).with_context(context)?;
        let listener = bind_closed(path).with_context(context)?;
        let socket = Self { listener, path: path.into(), made, served: AtomicBool::new(false) };
        give(path, access).with_context(context)?;
        Ok(socket)
    }

    /// The socket for tokio: call this in its runtime.
    pub(crate) fn listener(&self) -> Result<tokio::net::UnixListener> {
        Ok(tokio::net::UnixListener::from_std(self.try_clone()?)?)
    }

    /// A second handle of the socket. It does not block.
    pub(crate) fn try_clone(&self) -> Result<UnixListener> {
        self.served.store(true, Ordering::Relaxed);
        Ok(self.listener.try_clone()?)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Best effort: a file that stays is replaced by the next agent.
        fs::remove_file(&self.path).ok();
        // An agent that does not start leaves nothing behind. After another one the directory may have an owner's mode.
        if !self.served.load(Ordering::Relaxed) {
            self.made.iter().for_each(|directory| drop(fs::remove_dir(directory)));
        }
    }
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

/// Gives the socket's file its group and mode. It is opened first, so that nobody who may change the directory gets another
/// file changed.
fn give(path: &Path, access: Access) -> Result<()> {
    let file = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    let status = fstat(&file)?;
    let is_socket = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK;
    ensure!(is_socket && status.st_uid == geteuid().as_raw(), "another file has taken its place");
    fchownat(&file, "", None, access.group, AtFlags::AT_EMPTY_PATH)?;
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
        socket.try_clone().unwrap();
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
                socket.try_clone().unwrap();
            }
            drop((beside, socket));
            assert_eq!(outer.exists(), stays);
        }
        drop(bind(&path).unwrap());
        assert!(outer.exists(), "it was there before");
    }

    #[test]
    fn mode_and_group_are_as_asked_for() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lookup.sock");
        let group = Some(nix::unistd::getegid());
        let _socket = UnixSocket::bind(&path, Access { mode: 0o606, group }).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o606);
        assert_eq!(Some(metadata.gid()), group.map(nix::unistd::Gid::as_raw));
    }

    #[test]
    fn a_file_in_the_place_of_the_socket_is_not_changed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, precious) = (directory.path().join("api.sock"), directory.path().join("file"));
        fs::write(&precious, "").unwrap();
        let mode = || fs::metadata(&precious).unwrap().permissions().mode();
        let before = mode();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        assert!(give(&path, Access { mode: 0o666, group: None }).is_err());
        fs::rename(&precious, &path).unwrap();
        assert!(give(&path, Access { mode: 0o666, group: None }).is_err());
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
