//! Choosing and building bpf-linker, which turns the compiler's LLVM bitcode into the kernel object.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{command::probe, packages, tools};

const VERSION: &str = "0.13.0";

/// The LLVM versions that this bpf-linker can be built with.
const LLVM_VERSIONS: [u32; 3] = [21, 22, 23];

/// What the linker is linked with. The -dev package brings it, and the headers; llvm-config would
/// not do as a sign, for it is in another package.
const LIBRARY: &str = "lib/libLLVM.so";

/// A bpf-linker that reads the chosen compiler's bitcode.
#[derive(Debug)]
pub(crate) struct Linker {
    pub(crate) path: PathBuf,
}

impl Linker {
    /// Gives the linker for a compiler with this LLVM, building it under target/tools if the one
    /// there is missing or was built for another LLVM.
    pub(crate) fn for_llvm(rustc_llvm: u32) -> Result<Self> {
        let prefix = llvm_prefix(rustc_llvm)?;
        let tools = tools::directory();
        let path = tools.join("bin/bpf-linker");
        let stamp = tools.join("bpf-linker.stamp");
        let wanted = format!("bpf-linker {VERSION} {}\n", prefix.display());

        let recorded = fs::read_to_string(&stamp).unwrap_or_default();
        // Starting it shows that its libLLVM is still installed.
        if recorded != wanted || probe(Command::new(&path).arg("--version")).is_none() {
            eprintln!("building bpf-linker {VERSION} with {} (once)", prefix.display());
            tools::install(&mut install_command(&prefix)?).with_context(|| {
                format!(
                    "cannot build bpf-linker {VERSION}; it needs crates.io or a registry that \
                     mirrors it, and the LLVM in {}",
                    prefix.display()
                )
            })?;
            fs::write(&stamp, wanted)
                .with_context(|| format!("cannot write {}", stamp.display()))?;
        }
        Ok(Self { path })
    }

    /// Name and version for the operator.
    pub(crate) fn describe() -> String {
        format!("bpf-linker {VERSION}")
    }
}

/// Whether a linker for bitcode of this LLVM version can be built.
pub(crate) fn supports(rustc_llvm: u32) -> bool {
    usable(rustc_llvm).next().is_some()
}

/// LLVM reads bitcode of the same version and of older ones. The nearest version comes first.
fn usable(rustc_llvm: u32) -> impl Iterator<Item = u32> {
    LLVM_VERSIONS.into_iter().filter(move |version| *version >= rustc_llvm)
}

/// The directory of an LLVM to build the linker with; installs Debian's package if there is none.
fn llvm_prefix(rustc_llvm: u32) -> Result<PathBuf> {
    let prefix = |version: u32| PathBuf::from(format!("/usr/lib/llvm-{version}"));
    let installed = || usable(rustc_llvm).map(prefix).find(|prefix| prefix.join(LIBRARY).exists());
    if let Some(prefix) = installed() {
        return Ok(prefix);
    }
    let available = usable(rustc_llvm)
        .map(package)
        .find(|package| packages::available(package))
        .unwrap_or_else(|| package(rustc_llvm));
    packages::install(&[&available])
        .context("bpf-linker needs the LLVM of the compiler, or a newer one, with its headers")?;
    match installed() {
        Some(prefix) => Ok(prefix),
        None => bail!("{available} is installed but /usr/lib/llvm-*/{LIBRARY} is missing"),
    }
}

fn package(llvm: u32) -> String {
    format!("llvm-{llvm}-dev")
}

/// The command that builds bpf-linker with the LLVM in `prefix` (`…/llvm-<major>`).
fn install_command(prefix: &Path) -> Result<Command> {
    let feature = prefix
        .file_name()
        .and_then(|name| name.to_str())
        .with_context(|| format!("{} names no LLVM version", prefix.display()))?;
    let mut command = tools::install_command("bpf-linker", VERSION);
    command.env("LLVM_PREFIX", prefix).args(["--no-default-features", "--features", feature]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    #[test]
    fn takes_the_nearest_llvm_that_is_not_older() {
        assert_eq!(usable(21).collect::<Vec<_>>(), [21, 22, 23]);
        assert_eq!(usable(22).collect::<Vec<_>>(), [22, 23]);
        assert_eq!(usable(19).next(), Some(21));
        assert!(supports(23) && !supports(24));
    }

    #[test]
    fn is_built_with_the_llvm_that_was_found() {
        let command = install_command(Path::new("/usr/lib/llvm-22")).unwrap();
        let line = shell_line(&command);
        assert!(line.contains(" bpf-linker@0.13.0 "), "{line}");
        assert!(line.ends_with(" --no-default-features --features llvm-22"), "{line}");
    }
}
