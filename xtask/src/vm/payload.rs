//! What a guest runs, and the system around it.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    cache,
    debian::{BOOKWORM, Tree, Variant},
    image,
};
use crate::{
    agent,
    command::{output, workspace_cargo},
    packages,
};

const BOOT: &str = include_str!("boot.sh");
const TESTS: &str = include_str!("tests.sh");

/// The guest's root file system, which all kernels share: Debian 12, as on the machine that builds
/// the programs, with everything that the tests start.
pub(super) fn system() -> Result<PathBuf> {
    let mut packages = packages::of_guests();
    packages.extend(["ca-certificates", "kmod"]);
    let tree = Tree { release: BOOKWORM, variant: Variant::Installed, packages };
    let directory = cache::made_once("system", &tree.recipe(), |directory| {
        let unpacked = directory.join("tree");
        tree.make(&unpacked)?;
        image::make(&unpacked, &directory.join("root.ext4"), 4)?;
        crate::directory::remove(&unpacked)
    })
    .context("cannot prepare the guests' file system")?;
    Ok(directory.join("root.ext4"))
}

/// Builds the agent and the tests, and packs them into a file system together with `script`, which
/// the guest is to run beside them.
pub(super) fn pack(script: &str) -> Result<PathBuf> {
    let directory = cache::directory().join("payload");
    crate::directory::remove(&directory)?;
    fs::create_dir_all(&directory)?;
    for (from, name) in [(agent::build()?, "proxyip"), (end_to_end_tests()?, "e2e")] {
        fs::copy(&from, directory.join(name))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    for (text, name) in [(BOOT, "boot"), (TESTS, "tests"), (script, "run")] {
        fs::write(directory.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    let packed = cache::directory().join("payload.ext4");
    image::make(&directory, &packed, 1)?;
    Ok(packed)
}

/// Builds the end-to-end tests. With optimization: the guest's processor is slow.
fn end_to_end_tests() -> Result<PathBuf> {
    let messages = output(workspace_cargo().args([
        "test",
        "--no-run",
        "--release",
        "--package",
        "proxyip-tests",
        "--test",
        "e2e",
        "--message-format",
        "json-render-diagnostics",
    ]))
    .context("the end-to-end tests do not build")?;
    test_executable(&messages).context("cargo built the tests but did not say where it put them")
}

/// The test program among cargo's messages, which also tell of libraries and other programs.
fn test_executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["profile"]["test"] == true)
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)))
}

/// The shell script that runs those tests whose names contain one of `filters`.
pub(super) fn test_script(filters: &[String]) -> String {
    let mut script = "exec bash /payload/tests".to_owned();
    for filter in filters {
        script.push(' ');
        script.push_str(&quoted(filter));
    }
    script.push('\n');
    script
}

/// One word for a shell, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_test_program_among_cargos_messages() {
        let messages = "{\"executable\":\"/t/proxyip\",\"profile\":{\"test\":false}}\n\
            {\"executable\":null,\"profile\":{\"test\":true}}\n\
            {\"executable\":\"/t/deps/e2e-1\",\"profile\":{\"test\":true}}\n\
            {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(test_executable(messages), Some(PathBuf::from("/t/deps/e2e-1")));
        assert_eq!(test_executable("{\"reason\":\"build-finished\",\"success\":false}\n"), None);
    }

    #[test]
    fn a_filter_is_one_word_to_the_shell() {
        let script = test_script(&["web::".to_owned(), "it's; reboot".to_owned()]);
        assert!(script.ends_with(" 'web::' 'it'\\''s; reboot'\n"), "{script}");
    }
}
