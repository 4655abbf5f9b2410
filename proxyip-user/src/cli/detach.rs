//! `proxyip detach`

use std::path::PathBuf;

use anyhow::Result;

use super::print;
use crate::config::DEFAULT_PIN_PATH;
use crate::kernel;
use crate::lock::AgentLock;

/// Remove the kernel programs that an agent has left working.
///
/// Connections that were accepted live on; new ones reach applications with their PROXY header.
/// Refuses while an agent runs.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the kernel programs are pinned.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_PATH)]
    pin_path: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let path = &arguments.pin_path;
    if !path.try_exists()? {
        return print(format!("nothing is pinned in {}\n", path.display()));
    }
    let _lock = AgentLock::take(path)?;
    kernel::detach(path)
}
