//! Trees of Debian packages, unpacked away from the machine's own.
//!
//! The machine's packages stay as they are: an older emulator may conflict with what is installed,
//! and the kernels come from four releases.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::command::{run, shell_line};

/// One release of Debian: the archives to take packages from, as `<archive> <suite>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Release {
    codename: &'static str,
    archives: &'static [&'static str],
}

/// Past the end of its support: what the security archive lists is not all there any more.
pub(super) const BULLSEYE: Release =
    Release { codename: "bullseye", archives: &["debian bullseye"] };
pub(super) const BOOKWORM: Release = Release {
    codename: "bookworm",
    archives: &["debian bookworm", "debian-security bookworm-security"],
};
pub(super) const TRIXIE: Release =
    Release { codename: "trixie", archives: &["debian trixie", "debian-security trixie-security"] };
pub(super) const SID: Release = Release { codename: "sid", archives: &["debian sid"] };

impl Release {
    /// Lines for apt. The keys are named because a machine may trust only its own release's. A
    /// mirror that lags behind will do.
    fn sources(self) -> impl Iterator<Item = String> {
        let options =
            "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no";
        self.archives
            .iter()
            .map(move |archive| format!("deb [{options}] http://deb.debian.org/{archive} main"))
    }
}

/// What is done with the packages of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// Unpacked only.
    Unpacked,
    /// Installed on top of a minimal system: users and directories of the servers exist.
    Installed,
}

/// Packages of one release with all that they depend on.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) release: Release,
    pub(super) variant: Variant,
    pub(super) packages: Vec<&'static str>,
}

impl Tree {
    /// Makes the tree in `directory`, which must not exist.
    pub(super) fn make(&self, directory: &Path) -> Result<()> {
        eprintln!("unpacking {} of Debian {}", self.packages.join(", "), self.release.codename);
        run(&mut self.command(directory)).with_context(|| {
            format!(
                "cannot unpack packages of Debian {}; this needs deb.debian.org",
                self.release.codename
            )
        })
    }

    /// What the tree is made from, without the versions of the packages.
    pub(super) fn recipe(&self) -> String {
        shell_line(&self.command(Path::new("tree")))
    }

    fn command(&self, directory: &Path) -> Command {
        let variant = match self.variant {
            Variant::Unpacked => "extract",
            Variant::Installed => "essential",
        };
        let mut command = Command::new("mmdebstrap");
        command
            .args(["--quiet", "--mode=root", "--architectures=amd64"])
            .arg(format!("--variant={variant}"))
            .arg("--aptopt=APT::Install-Recommends \"false\"")
            .arg(format!("--include={}", self.packages.join(",")))
            .arg(self.release.codename)
            .arg(directory)
            .args(self.release.sources());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Tree { release: BOOKWORM, variant: Variant::Unpacked, packages: vec!["kmod", "cpio"] }
    }

    #[test]
    fn packages_come_from_the_release_and_its_security_archive() {
        let line = shell_line(&tree().command(Path::new("/t/kernel")));
        assert!(line.contains(" --variant=extract ") && line.contains(" --include=kmod,cpio "));
        assert!(line.contains(" bookworm /t/kernel deb [signed-by="), "{line}");
        assert!(line.contains("http://deb.debian.org/debian bookworm main"), "{line}");
        assert!(line.ends_with("/debian-security bookworm-security main"), "{line}");
    }

    #[test]
    fn the_recipe_tells_trees_apart_whatever_their_directory() {
        let other = Tree { release: TRIXIE, ..tree() };
        assert_eq!(tree().recipe(), tree().recipe());
        assert_ne!(tree().recipe(), other.recipe());
        assert_ne!(tree().recipe(), Tree { variant: Variant::Installed, ..tree() }.recipe());
    }
}
