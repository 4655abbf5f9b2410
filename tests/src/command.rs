//! Short-lived commands.

use std::process::{Command, Output};

/// Runs `program` to its end and returns its standard output.
///
/// # Panics
/// When it cannot be started or fails; the message has its standard error.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = attempt(Command::new(program).args(arguments));
    assert!(
        output.status.success(),
        "`{program} {}` failed, {}: {}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command to its end. Any exit status is fine.
///
/// # Panics
/// When it cannot be started.
pub fn attempt(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!("cannot run {}: {error}; is it installed?", command.get_program().to_string_lossy())
    })
}
