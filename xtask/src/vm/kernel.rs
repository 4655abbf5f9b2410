//! The kernels: from Debian's packages to files that boot.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::{
    cache,
    debian::{self, Release, Tree, Variant},
    image, modules,
};
use crate::command::run;

const INIT: &str = include_str!("init.sh");

/// A kernel of Debian: in its build for virtual machines, or in the one with `PREEMPT_RT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kernel {
    /// Debian 11
    #[value(name = "5.10")]
    Bullseye,
    /// Debian 12
    #[value(name = "6.1")]
    Bookworm,
    /// Debian 13
    #[value(name = "6.12")]
    Trixie,
    /// The newest that Debian has, in its development release
    #[value(name = "newest", alias = "7")]
    Sid,
    /// Debian 13, for real time
    #[value(name = "6.12-rt")]
    TrixieRealTime,
    /// The newest for real time: the agent refuses to start there
    #[value(name = "newest-rt")]
    SidRealTime,
}

/// What boots.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) vmlinuz: PathBuf,
    pub(super) initramfs: PathBuf,
    /// A file system with `/lib/modules`.
    pub(super) modules: PathBuf,
}

impl Kernel {
    /// Those that most servers have.
    pub(crate) const USUAL: [Self; 4] = [Self::Bullseye, Self::Bookworm, Self::Trixie, Self::Sid];

    /// The name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bullseye => "5.10",
            Self::Bookworm => "6.1",
            Self::Trixie => "6.12",
            Self::Sid => "newest",
            Self::TrixieRealTime => "6.12-rt",
            Self::SidRealTime => "newest-rt",
        }
    }

    fn release(self) -> Release {
        match self {
            Self::Bullseye => debian::BULLSEYE,
            Self::Bookworm => debian::BOOKWORM,
            Self::Trixie | Self::TrixieRealTime => debian::TRIXIE,
            Self::Sid | Self::SidRealTime => debian::SID,
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Bullseye | Self::Bookworm | Self::Trixie | Self::Sid => "linux-image-cloud-amd64",
            Self::TrixieRealTime | Self::SidRealTime => "linux-image-rt-amd64",
        }
    }

    /// Gives the files, making them if that was not done before.
    pub(super) fn prepare(self) -> Result<Files> {
        let tree = Tree {
            release: self.release(),
            variant: Variant::Unpacked,
            packages: vec![self.package(), "busybox-static"],
        };
        let recipe = format!("{}\n{:?}\n{INIT}", tree.recipe(), modules::AT_BOOT);
        let directory =
            cache::made_once(&format!("kernel-{}", self.name()), &recipe, |directory| {
                make(&tree, directory)
            })
            .with_context(|| format!("cannot prepare kernel {}", self.name()))?;
        Ok(Files::in_directory(&directory))
    }
}

impl Files {
    fn in_directory(directory: &Path) -> Self {
        Self {
            vmlinuz: directory.join("vmlinuz"),
            initramfs: directory.join("initramfs"),
            modules: directory.join("modules.ext4"),
        }
    }
}

fn make(tree: &Tree, directory: &Path) -> Result<()> {
    let files = Files::in_directory(directory);
    let unpacked = directory.join("tree");
    tree.make(&unpacked)?;

    let all_modules = directory.join("lib/modules");
    let release = move_modules(&unpacked, &all_modules)?;
    let modules = all_modules.join(&release);
    index_modules(directory, &modules, &release)?;
    image::make(&all_modules, &files.modules, 1)?;

    let vmlinuz =
        [unpacked.join("boot").join(format!("vmlinuz-{release}")), modules.join("vmlinuz")];
    copy(existing(&vmlinuz)?, &files.vmlinuz)?;

    let staging = directory.join("initramfs.d");
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| unpacked.join(path));
    stage_initramfs(&staging, existing(&busybox)?, &modules)?;
    image::make_initramfs(&staging, &files.initramfs)?;
    for done in [unpacked, directory.join("lib"), staging] {
        crate::directory::remove(&done)?;
    }
    Ok(())
}

/// Moves the modules to `to` and gives the kernel's release, which names their directory.
fn move_modules(unpacked: &Path, to: &Path) -> Result<String> {
    let from = ["lib/modules", "usr/lib/modules"].map(|path| unpacked.join(path));
    fs::create_dir_all(to.parent().context("no parent")?)?;
    fs::rename(existing(&from)?, to).context("cannot move the modules")?;
    let release = fs::read_dir(to)?.next().context("the package has no modules")??;
    release.file_name().into_string().ok().context("a strange directory below lib/modules")
}

/// Makes the modules ready for modprobe in `root`/lib/modules: unpacked, because the guest's
/// processor is slow, and with an index of what needs what.
fn index_modules(root: &Path, modules: &Path, release: &str) -> Result<()> {
    let unpack = ["-name", "*.ko.xz", "-exec", "xz", "--decompress", "{}", "+"];
    run(Command::new("find").arg(modules).args(unpack))?;
    run(Command::new("depmod").arg("--basedir").arg(root).arg(release))
}

fn stage_initramfs(staging: &Path, busybox: &Path, modules: &Path) -> Result<()> {
    let read = |name: &str| {
        let path = modules.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let at_boot =
        modules::load_order(&modules::AT_BOOT, &read("modules.dep")?, &read("modules.builtin")?)?;
    copy(busybox, &staging.join("bin/busybox"))?;
    for file in &at_boot {
        copy(&modules.join(file), &staging.join("modules").join(file))?;
    }
    fs::write(staging.join("modules.order"), at_boot.join("\n"))?;
    let init = staging.join("init");
    fs::write(&init, INIT)?;
    run(Command::new("chmod").arg("0755").arg(&init))
}

/// The one of `paths` that is there: packages differ in what they have below `/usr`.
fn existing(paths: &[PathBuf; 2]) -> Result<&Path> {
    let found = paths.iter().find(|path| path.exists());
    found.map(PathBuf::as_path).with_context(|| format!("no package has {}", paths[1].display()))
}

/// Copies a file, and makes the directory it goes to.
fn copy(from: &Path, to: &Path) -> Result<()> {
    to.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::copy(from, to))
        .map(|_| ())
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_name_is_what_the_command_line_takes() {
        for kernel in Kernel::value_variants() {
            assert_eq!(Kernel::from_str(kernel.name(), false), Ok(*kernel));
        }
    }

    #[test]
    fn modules_are_found_on_both_sides_of_the_merger_of_usr() {
        for below in ["lib/modules", "usr/lib/modules"] {
            let directory = tempfile::tempdir().unwrap();
            let unpacked = directory.path().join("tree");
            fs::create_dir_all(unpacked.join(below).join("6.1.0-56-cloud-amd64/kernel")).unwrap();
            let to = directory.path().join("lib/modules");
            assert_eq!(move_modules(&unpacked, &to).unwrap(), "6.1.0-56-cloud-amd64");
            assert!(to.join("6.1.0-56-cloud-amd64/kernel").is_dir());
        }
    }
}
