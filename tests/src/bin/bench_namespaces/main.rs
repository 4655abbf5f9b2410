//! Measures what an agent costs that serves many network namespaces under a pattern, with four listeners: for one
//! namespace, for a quarter, and for all. `PROXYIP_BIN` names the program; root is needed.

mod fleet;
mod measure;
mod report;

use std::panic;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use proxyip_tests::{Scratch, remove_everything, remove_everything_on_signals};

use crate::fleet::Fleet;
use crate::measure::measure;
use crate::report::{missed, print};

/// What is measured, and what it may cost
#[derive(Parser)]
#[command(name = "bench_namespaces")]
pub(crate) struct Options {
    /// How many namespaces there are at last
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(4..=256))]
    namespaces: u16,
    /// For how many seconds the agent is watched at rest
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    rest_seconds: u64,
    /// The most seconds until all are attached
    #[arg(long, default_value_t = 20.0)]
    attached: f64,
    /// The most resident memory of the agent, MB
    #[arg(long, default_value_t = 150.0)]
    memory: f64,
    /// The largest share of one processor at rest, percent
    #[arg(long, default_value_t = 1.0)]
    rest: f64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    remove_everything_on_signals("the benchmark");
    // A panic has printed its message, and dropping the fixtures has removed what they made.
    let outcome = panic::catch_unwind(|| bench(&options));
    remove_everything();
    match outcome {
        Ok(missed) if missed.is_empty() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Returns the limits that are missed.
fn bench(options: &Options) -> Vec<String> {
    let scratch = Scratch::new();
    let mut fleet = Fleet::new(&scratch);
    let rest = Duration::from_secs(options.rest_seconds);
    let all = usize::from(options.namespaces);
    let costs = [1, all / 4, all].map(|size| {
        let cost = measure(&mut fleet, &scratch, size, rest);
        eprintln!("{size} namespaces are measured");
        cost
    });
    print(&costs);
    let missed = missed(&costs[2], options);
    for limit in &missed {
        println!("MISSED: {limit}");
    }
    missed
}
