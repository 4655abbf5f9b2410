//! `cargo xtask`: build, test, fuzz, lint and demonstrate proxyip on one Linux machine.

mod agent;
mod axe;
mod build_ebpf;
mod chaos;
mod churn;
mod command;
mod conformance;
mod demo;
mod directory;
mod docs;
mod documents;
mod fuzz;
mod gate;
mod host;
mod linker;
mod lint;
mod model;
mod packages;
mod packets;
mod program;
mod programs;
mod pypi;
mod rooms;
mod soak;
mod steps;
mod test;
mod toolchain;
mod tools;
mod traffic;
mod upgrade;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, test, lint and demonstrate proxyip
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build the kernel programs into target/bpf/proxyip.o
    BuildEbpf,
    /// Run all tests, or the end-to-end tests whose names contain a filter (root only)
    Test {
        /// Part of the names of the end-to-end tests to run
        filter: Vec<String>,
    },
    /// Lint, test and fuzz, and test on two other kernels: what every change has to pass (root only)
    Gate,
    /// The same for longer and on all other kernels (root only)
    Nightly(gate::Night),
    /// Look for inputs that break a promise, with the fuzz targets
    ///
    /// What they learn is kept below target/fuzz, where each target's log is as well.
    Fuzz(fuzz::Options),
    /// Write the generated parts of the documents
    Docs(docs::Options),
    /// Check formatting, lints, dependencies and spelling
    Lint,
    /// Print the rooms of each crate and check that imports between them are those of rooms.toml
    Rooms,
    /// Show proxyip at work between real servers and load balancers (root only)
    Demo,
    /// Measure proxyip beside others, interleaved in one run (root only)
    Bench(program::Bench),
    /// Make trouble for an agent under load: links, pins, routes, rules, signals (root only)
    Chaos(chaos::Options),
    /// Let network namespaces come and go while an agent under load serves them (root only)
    Churn(churn::Options),
    /// Upgrade an agent under load from the last commit with another layout of maps (root only)
    Upgrade(upgrade::Options),
    /// Compare an agent's policy with a naive model, at each of many random steps (root only)
    Model(model::Options),
    /// Load an agent for minutes while it is reloaded, frozen, stopped and killed (root only)
    Soak(soak::Options),
    /// Make the pictures in docs: the page and `proxyip top`, of live traffic (root only)
    Screenshots,
    /// Print docs/conformance.md: what proxyip and others make of the same headers (root only)
    Conformance,
    /// Run end-to-end tests on other kernels, in emulated machines (root only)
    ///
    /// Kernels and programs are Debian's. They are unpacked below target/vm, where each kernel's log is
    /// as well; remove the directory to get the newest ones.
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::BuildEbpf => build_ebpf::run(),
        Verb::Test { filter } => test::run(&filter),
        Verb::Fuzz(options) => fuzz::run(&options),
        Verb::Gate => gate::run(),
        Verb::Nightly(night) => gate::nightly(&night),
        Verb::Docs(options) => docs::run(&options),
        Verb::Lint => lint::run(),
        Verb::Rooms => rooms::run(),
        Verb::Demo => demo::run(),
        Verb::Bench(bench) => program::bench(&bench),
        Verb::Chaos(options) => chaos::run(&options),
        Verb::Churn(options) => churn::run(&options),
        Verb::Upgrade(options) => upgrade::run(&options),
        Verb::Model(options) => model::run(&options),
        Verb::Soak(options) => soak::run(&options),
        Verb::Screenshots => program::screenshots(),
        Verb::Conformance => conformance::run(),
        Verb::Vm(options) => vm::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: a backtrace of xtask helps nobody who builds proxyip.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
