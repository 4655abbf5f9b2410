//! What a guest runs, and the system around it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    cache,
    debian::{BOOKWORM, Tree, Variant},
    image,
};
use crate::{packages, programs::Programs};

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

/// Packs the agent and the tests into a file system together with `script`, which the guest is to run beside them.
pub(super) fn pack(programs: &Programs, script: &str) -> Result<PathBuf> {
    let test = |name| anyhow::Ok((&*programs.end_to_end(name)?.path, name));
    pack_programs(&[(&programs.agent, "proxyip"), test("e2e")?, test("packets")?], script)
}

/// Packs programs by these names into a file system together with `script`, which the guest is to run beside them.
pub(super) fn pack_programs(programs: &[(&Path, &str)], script: &str) -> Result<PathBuf> {
    let directory = cache::directory().join("payload");
    crate::directory::remove(&directory)?;
    fs::create_dir_all(&directory)?;
    for (from, name) in programs {
        fs::copy(from, directory.join(name))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    for (text, name) in [(BOOT, "boot"), (TESTS, "tests"), (script, "run")] {
        fs::write(directory.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    let packed = cache::directory().join("payload.ext4");
    image::make(&directory, &packed, 1)?;
    Ok(packed)
}

/// The shell script that runs some tests of a program: a test runs if its name contains one of `filters`.
pub(super) fn test_script(program: &str, filters: &[String]) -> String {
    let mut script = format!("exec bash /payload/tests {program}");
    for filter in filters {
        script.push(' ');
        script.push_str(&quoted(filter));
    }
    script.push('\n');
    script
}

/// Quotes `word`, so that a shell reads it as one word.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_one_word_to_the_shell() {
        let script = test_script("e2e", &["web::".to_owned(), "it's; reboot".to_owned()]);
        assert!(script.ends_with(" 'web::' 'it'\\''s; reboot'\n"), "{script}");
    }
}
