//! The command line; one file per verb.

mod acl;
mod check;
mod completions;
mod config;
mod detach;
mod duration;
mod explain;
mod flows;
mod lookup;
mod man;
mod reference;
mod run;
mod status;
mod table;
mod top;

use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

pub use self::reference::reference;
use crate::config::DEFAULT_SOCKET;

/// A usage or configuration error.
const USAGE: u8 = 2;

/// Gives a server behind a load balancer its clients' real addresses.
///
/// The load balancer puts a PROXY protocol header in front of each connection; proxyip's kernel programs
/// consume it while the connection is accepted. Applications see the client as their peer, unmodified.
#[derive(Debug, Parser)]
#[command(name = "proxyip", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Arguments),
    Lookup(lookup::Arguments),
    Flows(flows::Arguments),
    Status(status::Arguments),
    Top(top::Arguments),
    Acl(acl::Arguments),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Config(config::Arguments),
    Detach(detach::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// What every verb that prints what the agent answers takes.
#[derive(Debug, Args)]
struct Reading {
    /// Unix socket of the agent.
    #[arg(long, value_name = "PATH", env = "PROXYIP_SOCKET", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Print the agent's JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Run(arguments) => run::run(arguments),
        Verb::Lookup(arguments) => lookup::run(&arguments),
        Verb::Flows(arguments) => finish(ask(flows::run(&arguments)), 1),
        Verb::Status(arguments) => finish(ask(status::run(&arguments)), 1),
        Verb::Top(arguments) => finish(ask(top::run(&arguments)), 1),
        Verb::Acl(arguments) => acl::run(&arguments),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Config(arguments) => finish(config::run(&arguments), 1),
        Verb::Detach(arguments) => finish(detach::run(&arguments), 1),
        Verb::Completions(arguments) => finish(completions::run(&arguments), 1),
        Verb::Man(arguments) => finish(man::run(&arguments), 1),
    }
}

/// Runs one conversation with the agent.
fn ask<T>(conversation: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the runtime cannot be started")?.block_on(conversation)
}

/// The exit code of a verb: 0, or `code` after its error was printed.
fn finish(result: Result<()>, code: u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(format_args!("{error:#}"), code),
    }
}

/// Prints an error; a standard error that nobody reads is no reason to panic.
fn fail(error: impl std::fmt::Display, code: u8) -> ExitCode {
    writeln!(io::stderr(), "proxyip: {error}").ok();
    code.into()
}

/// Prints to standard output. A reader that has seen enough (`| head`) is no error.
fn print(text: impl AsRef<[u8]>) -> Result<()> {
    print_more(text).map(|_| ())
}

/// Prints too; `false` if nobody reads any more.
fn print_more(text: impl AsRef<[u8]>) -> Result<bool> {
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_ref()).and_then(|()| output.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true).context("standard output"),
    }
}
