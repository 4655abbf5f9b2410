//! `cargo xtask bench connections`, `requests`, `bulk`, `flood`, `lists` and `flows`: what traffic costs with proxyip, and
//! with its rivals. Prints a line for each contender of each round.
//!
//! In a round every contender is measured once, one after the other. A busy machine makes all of them slower.

mod bulk;
mod clients;
mod contenders;
mod flood;
mod flow_log;
mod flows;
mod generator;
mod lists;
mod programs;
mod report;
mod rivals;
mod rounds;
mod scene;
mod sender;

use std::panic;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use proxyip_tests::{remove_everything, remove_everything_on_signals};

use generator::Use;
use rounds::Effort;

/// What to measure, and for how long
#[derive(Parser)]
struct Arguments {
    what: What,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds for each contender in a round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// New connections, with one request on each
    Connections,
    /// Requests on connections that stay
    Requests,
    /// Bytes of one connection
    Bulk,
    /// Segments that no connection comes of
    Flood,
    /// New connections with long lists and many listeners
    Lists,
    /// New connections beside few and many others
    Flows,
}

fn main() -> ExitCode {
    let Arguments { what, rounds, seconds } = Arguments::parse();
    remove_everything_on_signals("the benchmark");
    let effort = Effort { rounds, duration: Duration::from_secs_f64(seconds) };
    // A panic has printed its message, and dropping the fixtures has removed what they made.
    let outcome = panic::catch_unwind(|| measure(what, effort));
    remove_everything();
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(what: What, effort: Effort) {
    match what {
        What::Connections => contenders::measure("new connections", Use::Once, effort),
        What::Requests => contenders::measure("requests", Use::Always, effort),
        What::Bulk => bulk::measure(effort),
        What::Flood => flood::measure(effort),
        What::Lists => lists::measure(effort),
        What::Flows => flows::measure(effort),
    }
}
