//! A long-running program.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use crate::namespace::Namespace;
use crate::wait::{eventually, until};

/// A program in a new process group, its output in files; stopped on drop. When the test has failed, its last lines
/// are printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    directory: PathBuf,
    stop: Signal,
    quiet: bool,
}

impl Process {
    /// Starts `command`; its output goes to `NAME.out` and `NAME.err` in `directory`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, directory: &Path, command: &mut Command) -> Self {
        command.process_group(0).stdin(std::process::Stdio::null());
        command.stdout(log(directory, name, "out")).stderr(log(directory, name, "err"));
        // A program of the fixtures blocks signals to wait for them; what it starts would inherit that.
        // SAFETY: the call between fork and exec is sigprocmask(2), which is async-signal-safe, and nothing is allocated.
        unsafe { command.pre_exec(|| Ok(SigSet::empty().thread_set_mask()?)) };
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let directory = directory.to_owned();
        Self { name: name.to_owned(), child, directory, stop: Signal::SIGTERM, quiet: false }
    }

    /// The signal that ends it in order; `SIGTERM` unless said.
    #[must_use]
    pub fn stopped_by(mut self, signal: Signal) -> Self {
        self.stop = signal;
        self
    }

    /// Its output says nothing about a failed test.
    #[must_use]
    pub fn quietly(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Waits until a socket in `namespace` listens on `port`.
    #[must_use]
    pub fn listening(mut self, namespace: &Namespace, port: u16) -> Self {
        self.ready(&format!("listening on port {port}"), |_| namespace.listens(port).then_some(()));
        self
    }

    /// Waits until `probe` finds what it looks for.
    ///
    /// # Panics
    /// When the program ends first, or takes too long.
    pub fn ready<T>(&mut self, what: &str, mut probe: impl FnMut(&Self) -> Option<T>) -> T {
        let name = self.name.clone();
        eventually(&format!("{name}: {what}"), || {
            let found = probe(self);
            let exit = self.child.try_wait().expect("cannot wait for a child");
            assert!(found.is_some() || exit.is_none(), "{name} ended early: {}", exit.unwrap());
            found
        })
    }

    /// Everything written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.directory, &self.name, "out")
    }

    /// Everything written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.directory, &self.name, "err")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("cannot wait for a child").is_none()
    }

    /// Sends a signal to it and to its children.
    pub fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(self.child.id().cast_signed());
        let _ = killpg(group, signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end soon.
    pub fn wait(&mut self) -> ExitStatus {
        eventually(&format!("the end of {}", self.name), || self.child.try_wait().expect("a child"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(self.stop);
        let ended = until(Duration::from_secs(2), || self.child.try_wait().ok().flatten());
        // Children may outlive their parent: the group is signalled in either case.
        self.signal(Signal::SIGKILL);
        if ended.is_none() {
            let _ = self.child.wait();
        }
        if std::thread::panicking() && !self.quiet {
            for (stream, text) in [("output", self.stdout()), ("errors", self.stderr())] {
                let lines: Vec<_> = text.lines().collect();
                let last = lines[lines.len().saturating_sub(30)..].join("\n  ");
                if !last.is_empty() {
                    eprintln!("--- {}, last {stream}:\n  {last}", self.name);
                }
            }
        }
    }
}

fn log(directory: &Path, name: &str, stream: &str) -> File {
    let path = directory.join(format!("{name}.{stream}"));
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(directory: &Path, name: &str, stream: &str) -> String {
    let bytes = fs::read(directory.join(format!("{name}.{stream}"))).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
