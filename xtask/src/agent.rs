//! Building the agent that the tests and the demo run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::{output, workspace_cargo};

/// Builds the agent, with the kernel programs in it, and gives the path of its binary.
pub(crate) fn build() -> Result<PathBuf> {
    let messages = output(workspace_cargo().args([
        "build",
        "--release",
        "--package",
        "proxyip-user",
        "--bin",
        "proxyip",
        "--message-format",
        "json-render-diagnostics",
    ]))
    .context("the agent does not build")?;
    executable(&messages).context("cargo built the agent but did not say where it put it")
}

/// The agent that the operator names, or else the one that is built here.
pub(crate) fn given_or_built(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        // Programs that use it have working directories of their own.
        Some(path) => fs::canonicalize(path).with_context(|| path.display().to_string()),
        None => build(),
    }
}

/// The executable that cargo's messages name. Each message is a JSON object on its own line.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_executable_among_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"executable\":\"/t/release/proxyip\"}\n\
            {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/release/proxyip")));
        assert_eq!(executable("{\"reason\":\"build-finished\",\"success\":true}\n"), None);
    }
}
