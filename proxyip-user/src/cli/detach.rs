//! `proxyip detach`

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow};
use proxyip_common::text::is_obeyed;

use super::output::print;
use crate::config::{DEFAULT_NETNS_PATH, DEFAULT_PIN_PATH, DEFAULT_PROCFS_PATH};
use crate::lifecycle::detach::{detach, elsewhere, has_pins, left_over, look_at_host};
use crate::lifecycle::lock::{AgentLock, LockError};

/// Remove the kernel programs that an agent has left working.
///
/// Accepted connections go on. Translated connections have time to end, and are cut after that. New ones reach
/// applications with their PROXY header. It refuses while an agent runs.
///
/// If nothing is pinned there, it says so, names other pins on this host, and ends with 0.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the kernel programs are pinned.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_PATH)]
    pin_path: PathBuf,
    /// The proc file system that shows the host's processes, as `[agent] procfs_path`.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PROCFS_PATH)]
    procfs_path: PathBuf,
    /// The directory of the host's named network namespaces, as `[agent] netns_path`.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_NETNS_PATH)]
    netns_path: PathBuf,
    /// How long to wait for translated connections to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    drain: u32,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let path = &arguments.pin_path;
    look_at_host(&arguments.procfs_path, &arguments.netns_path)?;
    if !path.try_exists()? {
        left_over(path)?;
        return print(nothing(path));
    }
    let pinned = has_pins(path)?;
    let _lock = lock(path)?;
    let patience = Duration::from_secs(arguments.drain.into());
    detach(path, patience, |sentence| {
        writeln!(io::stderr(), "proxyip: {sentence}").ok();
    })?;
    if pinned {
        print(format!("detached: nothing is pinned in {} any more\n", path.display()))
    } else {
        print(nothing(path))
    }
}

/// That there was nothing to detach, and where there is.
fn nothing(path: &Path) -> String {
    let other = elsewhere(path).map(|other| format!("; {other}")).unwrap_or_default();
    format!("nothing is pinned in {}, so nothing was detached{other}\n", path.display())
}

/// Keeps agents away; an error names the one that is there.
fn lock(path: &Path) -> Result<AgentLock> {
    AgentLock::take(path).map_err(|error| match error {
        LockError::Held { pid, path } => anyhow!("{}", held(pid, &path)),
        error @ LockError::Unusable { .. } => error.into(),
    })
}

/// Which agent runs, and what to do.
fn held(pid: Option<u32>, pin_path: &Path) -> String {
    let again = "and run `proxyip detach` again";
    let place = pin_path.display();
    let Some(pid) = pid else {
        return format!(
            "an agent runs on {place}, in a PID namespace that cannot be seen from here: stop its container, {again}"
        );
    };
    let command = command_of(pid).map(|command| format!(" (`{command}`)")).unwrap_or_default();
    format!(
        "an agent, process {pid}{command}, runs on {place}: stop it (`systemctl stop proxyip` or `kill {pid}`), {again}"
    )
}

/// The command line of a process; `None` if it cannot be read.
fn command_of(pid: u32) -> Option<String> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = words.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let command = words.collect::<Vec<_>>().join(" ");
    // Whoever has started it may have written anything.
    let command = command.trim().replace(is_obeyed, "?");
    (!command.is_empty()).then_some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_runs_is_named_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let own = lock(path).unwrap();
        let error = lock(path).unwrap_err().to_string();
        let pid = std::process::id();
        let command = command_of(pid).unwrap();
        for part in [
            &*format!("an agent, process {pid} (`{command}`), runs on {}", path.display()),
            &format!("or `kill {pid}`), and run `proxyip detach` again"),
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        drop(own);
        assert!(held(None, path).contains("a PID namespace that cannot be seen from here"));
    }
}
