//! The command line; one file per verb.

mod acl;
mod check;
mod completions;
mod config;
mod detach;
mod duration;
pub(crate) mod exit;
mod explain;
mod flows;
mod lookup;
mod man;
mod run;
mod status;
mod table;
mod top;

use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory, Parser, Subcommand};

use self::exit::Exit;
use crate::config::DEFAULT_SOCKET;

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

/// The command line, for documents.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Run(arguments) => run::run(arguments),
        Verb::Lookup(arguments) => lookup::run(&arguments),
        Verb::Flows(arguments) => finish(ask(flows::run(&arguments))),
        Verb::Status(arguments) => finish(ask(status::run(&arguments))),
        Verb::Top(arguments) => finish(ask(top::run(&arguments))),
        Verb::Acl(arguments) => acl::run(&arguments),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Config(arguments) => finish(config::run(&arguments)),
        Verb::Detach(arguments) => finish(detach::run(&arguments)),
        Verb::Completions(arguments) => finish(completions::run(&arguments)),
        Verb::Man(arguments) => finish(man::run(&arguments)),
    }
}

/// Runs one conversation with the agent.
fn ask<T>(conversation: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the runtime cannot be started")?.block_on(conversation)
}

/// The exit code of a verb without codes of its own; prints its error.
fn finish(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => Exit::Done.into(),
        Err(error) => fail(format_args!("{error:#}"), Exit::Failed),
    }
}

/// Prints an error; a standard error that nobody reads is no reason to panic.
fn fail(error: impl std::fmt::Display, exit: Exit) -> ExitCode {
    writeln!(io::stderr(), "proxyip: {error}").ok();
    exit.into()
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
