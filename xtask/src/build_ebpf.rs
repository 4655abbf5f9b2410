//! `cargo xtask build-ebpf`: the kernel programs as objects in target/bpf.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context as _, Result};

use crate::{
    command::{run as run_command, workspace_root},
    linker::Linker,
    toolchain::Compiler,
};

const TARGET: &str =
    if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// What cargo calls each object, and its file: the programs, those in front of them, and those that measure them.
const OBJECTS: [(&str, &str); 3] = [
    ("proxyip-ebpf", "proxyip.o"),
    ("proxyip-front", "front.o"),
    ("proxyip-yardstick", "yardstick.o"),
];

/// Builds the kernel programs.
pub(crate) fn run() -> Result<()> {
    let compiler = Compiler::find()?;
    let linker = Linker::for_llvm(compiler.version.llvm.0)?;
    eprintln!("kernel programs: {compiler}, {}", Linker::describe());

    // A separate target directory: cargo, which runs xtask, may hold the lock of the usual one.
    let target_dir = workspace_root().join("target/ebpf-build");
    run_command(&mut build_command(&compiler, &linker.path, &target_dir))
        .context("the kernel programs do not build")?;
    OBJECTS.iter().try_for_each(|(built, object)| {
        let built = target_dir.join(TARGET).join("bpf").join(built);
        replace_if_changed(&built, &object_path(object))
    })
}

/// Where the agent's build script looks for an object.
fn object_path(name: &str) -> PathBuf {
    workspace_root().join("target/bpf").join(name)
}

fn build_command(compiler: &Compiler, linker: &Path, target_dir: &Path) -> Command {
    let mut command = compiler.cargo();
    command
        .args(["build", "--package", "proxyip-ebpf", "--bins"])
        .args(["--profile", "bpf", "--target", TARGET, "-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(target_dir)
        // The encoded variable wins over every other source of flags, configuration files included.
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(linker).join("\x1f"))
        // Incremental builds make other code: the verifier refuses some of it.
        .env("CARGO_INCREMENTAL", "0");
    command
}

fn rustflags(linker: &Path) -> Vec<String> {
    vec![
        format!("-Clinker={}", linker.display()),
        // The loader needs BTF for map definitions, and BTF is made from debug information.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // Else every memset and memmove, however short, is a call of a loop over bytes.
        "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
        // aya-ebpf picks the register layout of the traced machine by it.
        format!("--cfg=bpf_target_arch=\"{ARCH}\""),
    ]
}

/// Puts a copy of `from` at `to` in one step. Leaves an equal file alone: a new one would make cargo build the agent
/// again for nothing.
fn replace_if_changed(from: &Path, to: &Path) -> Result<()> {
    let built = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|present| present == built) {
        return Ok(());
    }
    let directory = to.parent().context("the object has no directory")?;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let fresh = to.with_extension(format!("{}.new", process::id()));
    fs::write(&fresh, built)
        .and_then(|()| fs::rename(&fresh, to))
        .with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_carries_btf_and_comes_from_our_linker() {
        let flags = rustflags(Path::new("/tools/bin/bpf-linker"));
        assert!(flags.contains(&"-Clinker=/tools/bin/bpf-linker".to_owned()));
        assert!(flags.contains(&"-Clink-arg=--btf".to_owned()));
        assert!(flags.contains(&"-Cdebuginfo=2".to_owned()));
    }

    #[test]
    fn an_equal_object_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("built"), directory.path().join("bpf/proxyip.o"));

        fs::write(&from, "one").unwrap();
        replace_if_changed(&from, &to).unwrap();
        let first = fs::metadata(&to).unwrap().modified().unwrap();
        replace_if_changed(&from, &to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), first);

        fs::write(&from, "two").unwrap();
        replace_if_changed(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "two");
        assert_eq!(
            fs::read_dir(to.parent().unwrap()).unwrap().count(),
            1,
            "a temporary file is left"
        );
    }
}
