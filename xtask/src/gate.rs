//! `cargo xtask gate`, which every change has to pass, and `cargo xtask nightly`, which takes hours.

use std::thread;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use crate::{
    build_ebpf, chaos, churn, demo, fuzz, host, lint, model, packages, packets, program,
    programs::{Profile, Programs},
    soak,
    steps::{self, Steps},
    test, traffic, upgrade,
    vm::{self, Guests, Kernel},
};

/// For how long the gate fuzzes, seconds in all.
const FUZZING: u32 = 60;

/// For how many minutes the gate makes trouble.
const CHAOS: u32 = 5;

/// Namespaces that come and go in the gate, and in the night.
const CHURN: churn::Options =
    churn::Options { seconds: 12, namespaces: 40, seed: None, agent: None };
const LONG_CHURN: churn::Options =
    churn::Options { seconds: 600, namespaces: 200, seed: None, agent: None };

/// How often the night upgrades an agent.
const UPGRADES: upgrade::Options = upgrade::Options { times: 10, agent: None };

/// How long the night compares an agent's policy with a naive model.
const MODEL: model::Options = model::Options { steps: 10_000, agents: 8, seed: None };

/// The kernels of Debian's two newest stable releases. All four would take too long in the gate.
const KERNELS: [Kernel; 2] = [Kernel::Bookworm, Kernel::Trixie];

/// How long the night is
#[derive(Args)]
pub(crate) struct Night {
    /// For how long to fuzz, in all
    #[arg(long, default_value_t = 1800, value_parser = clap::value_parser!(u32).range(1..))]
    fuzz_seconds: u32,
    /// How often to run the end-to-end tests, which shows what fails rarely
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// For how many minutes the agent is loaded, reloaded, frozen, stopped and killed
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    soak_minutes: u32,
    /// For how many minutes everything happens to the agent that a host does, at random
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    chaos_minutes: u32,
    /// The other kernels; if none is named, those that are not for real time
    #[arg(long, value_enum, value_name = "VERSION")]
    kernel: Vec<Kernel>,
}

/// What can be bounded.
struct Plan<'a> {
    kernels: &'a [Kernel],
    guests: vm::Options,
    fuzz_seconds: u32,
    rounds: u32,
    chaos_minutes: u32,
}

/// What every change has to pass.
pub(crate) fn run() -> Result<()> {
    steps::run(|steps| {
        let guests = vm::Options::smoke(&KERNELS);
        let kernels = &KERNELS;
        let plan = Plan { kernels, guests, fuzz_seconds: FUZZING, rounds: 1, chaos_minutes: CHAOS };
        all(steps, &plan)
    })
}

/// What is too long for that.
pub(crate) fn nightly(night: &Night) -> Result<()> {
    let Night { fuzz_seconds, rounds, soak_minutes, chaos_minutes, kernel: kernels } = night;
    let guests = vm::Options::core(kernels);
    let (fuzz_seconds, rounds, chaos_minutes) = (*fuzz_seconds, *rounds, *chaos_minutes);
    let plan = Plan { kernels, guests, fuzz_seconds, rounds, chaos_minutes };
    steps::run(|steps| {
        all(steps, &plan)?;
        released(steps, *soak_minutes)
    })
}

/// The tests of the agent as it is released, and its soak. Another optimization shows other races.
fn released(steps: &mut Steps, soak_minutes: u32) -> Result<()> {
    let programs = steps.need("building, as released", || Programs::build(Profile::Release))?;
    test::end_to_end_tests(steps, &programs, &[])?;
    steps.check("policy model, as released", || model::take_steps(&programs, &MODEL));
    steps.check("kills at each step, as released", || test::kills_at_each_step(&programs));
    steps.check("churn, as released", || churn::with_agent(&programs.agent, &LONG_CHURN));
    steps.check("measures of traffic", || traffic::check(&programs));
    steps.check("256 namespaces", || program::namespaces(&programs.agent));
    steps.check("upgrades", || upgrade::to(&programs.agent, &UPGRADES));
    steps.check("soak", || soak::soak(&programs.agent, soak_minutes));
    Ok(())
}

/// What is cheap and fails often comes first, and nothing comes after a lint that fails.
fn all(steps: &mut Steps, plan: &Plan<'_>) -> Result<()> {
    steps.check("formatting", lint::formatting);
    steps.all_passed()?;
    steps.need("packages", || {
        packages::install_everything()?;
        host::prepare("gate")
    })?;
    thread::scope(|scope| {
        // It waits for the archive while others compile, and must not disturb tests that look at the clock.
        let preparation = scope.spawn(|| Guests::prepare(plan.kernels));
        steps.need("kernel programs", build_ebpf::run)?;
        lint::check(steps);
        steps.all_passed()?;
        let programs = steps.need("building", || Programs::build(Profile::Ci))?;
        test::unit_tests(steps, &programs);
        let guests = steps.need("guests, made meanwhile", || {
            let guests = preparation.join().map_err(|_| anyhow!("it panicked"))?;
            guests.context("cannot make guests")
        })?;
        steps.check("demo", || demo::show(&programs));
        steps.check("churn", || churn::check(&programs, &CHURN));
        for _ in 0..plan.rounds {
            test::end_to_end_tests(steps, &programs, &[])?;
        }
        fuzz::check(steps, &fuzz::Options::all(plan.fuzz_seconds))?;
        last(steps, plan, &programs, &guests);
        Ok(())
    })
}

/// What minds little how busy the machine is.
fn last(steps: &mut Steps, plan: &Plan<'_>, programs: &Programs, guests: &Guests) {
    thread::scope(|scope| {
        let chaos = scope.spawn(|| chaos::beside(programs, plan.chaos_minutes));
        steps.check("other kernels", || guests.run(programs, &plan.guests));
        steps.check("instructions for packets", || packets::check(guests, &programs.bench_packets));
        steps.check("chaos, made meanwhile", || {
            chaos.join().unwrap_or_else(|_| Err(anyhow!("it panicked")))
        });
    });
}
