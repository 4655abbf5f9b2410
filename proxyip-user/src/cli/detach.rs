//! `proxyip detach`

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::output::print;
use crate::config::DEFAULT_PIN_PATH;
use crate::lifecycle::detach::{detach, elsewhere, has_pins, left_over};
use crate::lifecycle::lock::AgentLock;

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
    /// How long to wait for translated connections to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    drain: u32,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let path = &arguments.pin_path;
    if !path.try_exists()? {
        left_over(path)?;
        return print(nothing(path));
    }
    let pinned = has_pins(path)?;
    let _lock = AgentLock::take(path)?;
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
