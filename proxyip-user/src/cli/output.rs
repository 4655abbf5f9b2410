//! What a verb prints, and how it ends.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::exit::Exit;

/// The exit code of a verb without codes of its own; prints its error.
pub(super) fn finish(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => Exit::Done.into(),
        Err(error) => fail(format_args!("{error:#}"), Exit::Failed),
    }
}

/// Prints an error; a standard error that nobody reads is no reason to panic.
pub(super) fn fail(error: impl std::fmt::Display, exit: Exit) -> ExitCode {
    writeln!(io::stderr(), "proxyip: {error}").ok();
    exit.into()
}

/// Prints to standard output. A reader that has seen enough (`| head`) is no error.
pub(super) fn print(text: impl AsRef<[u8]>) -> Result<()> {
    print_more(text).map(|_| ())
}

/// Prints too; `false` if nobody reads any more.
pub(super) fn print_more(text: impl AsRef<[u8]>) -> Result<bool> {
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_ref()).and_then(|()| output.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true).context("standard output"),
    }
}
