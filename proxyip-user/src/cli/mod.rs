//! The command line; one file per verb.

mod acl;
mod check;
mod completions;
mod config;
mod detach;
mod diff;
mod duration;
pub(crate) mod exit;
mod explain;
mod flows;
mod listener;
mod lookup;
mod man;
mod output;
mod reading;
mod reload;
mod run;
mod status;
mod support;
mod table;
mod tips;
mod top;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::output::finish;
use self::reading::ask;

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
    Listener(listener::Arguments),
    Reload(reload::Arguments),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Config(config::Arguments),
    Detach(detach::Arguments),
    Support(support::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// The command line, for documents.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| tips::with_tip(error).exit());
    match cli.verb {
        Verb::Run(arguments) => run::run(arguments),
        Verb::Lookup(arguments) => lookup::run(&arguments),
        Verb::Flows(arguments) => finish(ask(flows::run(&arguments))),
        Verb::Status(arguments) => finish(ask(status::run(&arguments))),
        Verb::Top(arguments) => finish(ask(top::run(&arguments))),
        Verb::Acl(arguments) => acl::run(&arguments),
        Verb::Listener(arguments) => finish(ask(listener::run(&arguments))),
        Verb::Reload(arguments) => reload::run(&arguments),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Config(arguments) => finish(config::run(&arguments)),
        Verb::Detach(arguments) => finish(detach::run(&arguments)),
        Verb::Support(arguments) => finish(support::run(&arguments)),
        Verb::Completions(arguments) => finish(completions::run(&arguments, command())),
        Verb::Man(arguments) => finish(man::run(&arguments, command())),
    }
}
