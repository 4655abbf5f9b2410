//! Starting other programs.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// The root of the checkout that this xtask belongs to.
pub(crate) fn workspace_root() -> PathBuf {
    // Cargo sets the variable for `cargo run` too. So a binary from a shared target directory still works on the
    // checkout that it was called for.
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or(manifest.clone(), Path::to_path_buf)
}

/// The cargo that runs this xtask.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A cargo command in the workspace, with the environment of the operator.
pub(crate) fn workspace_cargo() -> Command {
    let mut command = Command::new(cargo());
    // This xtask's own: with it, and without it the next time, a build script would run each time again.
    command.env_remove("CARGO_MANIFEST_DIR");
    command.current_dir(workspace_root());
    command
}

/// A cargo command that builds the same thing in every environment. The operator's flags, wrappers and directories
/// are for the host build. They must not reach a tool or the kernel programs.
pub(crate) fn isolated_cargo(cargo: impl Into<OsString>) -> Command {
    let mut command = Command::new(cargo.into());
    for variable in [
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        // `cargo run` puts its own toolchain's libraries here; another compiler needs its own.
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
    ] {
        command.env_remove(variable);
    }
    command.current_dir(workspace_root());
    command
}

/// Runs `command` with the terminal of xtask; a failure names the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status =
        command.status().with_context(|| format!("cannot start {}", shell_line(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shell_line(command));
    }
    Ok(())
}

/// Runs `command` and gives its standard output; standard error goes to the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", shell_line(command)))?;
    if !output.status.success() {
        bail!("{} failed ({})", shell_line(command), output.status);
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} printed something that is not UTF-8", shell_line(command)))
}

/// Like [`output`], for a program that may be absent or fail: this is an answer too.
pub(crate) fn probe(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).ok())?
}

/// The command as an operator would type it, without the environment.
pub(crate) fn shell_line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command() {
        let error = run(Command::new("false").arg("--really")).unwrap_err();
        assert!(error.to_string().starts_with("false --really failed"), "{error}");
    }

    #[test]
    fn probing_a_program_that_is_absent_is_no_error() {
        assert_eq!(probe(&mut Command::new("/nonexistent/program")), None);
        assert_eq!(probe(&mut Command::new("false")), None);
        assert_eq!(probe(Command::new("echo").arg("yes")), Some("yes\n".to_owned()));
    }

    #[test]
    fn flags_for_the_host_do_not_reach_an_isolated_build() {
        let command = isolated_cargo("cargo");
        let removed =
            |name: &str| command.get_envs().any(|(key, value)| key == name && value.is_none());
        assert!(removed("RUSTFLAGS") && removed("CARGO_ENCODED_RUSTFLAGS") && removed("RUSTC"));
    }
}
