//! A real agent against a model that is too simple to be wrong: reloads, changed files, commands, kills and starts in any
//! order. After each step, connections and answers are those of the model.
//!
//! `PROXYIP_MODEL_STEPS` says how many steps, `PROXYIP_MODEL_AGENTS` how many agents share them, and `PROXYIP_MODEL_SEED`
//! makes the choices of an earlier run again.

mod application;
mod draw;
mod file_steps;
mod files;
mod marks;
mod members;
mod policy;
mod probe;
mod steps;
mod toml;
mod world;

use std::collections::BTreeMap;
use std::io::Write;
use std::thread;
use std::time::Instant;

use proxyip_tests::Site;
use proxyip_tests::random::{Random, seed_of_now};

use self::policy::Policy;
use self::probe::PORTS;
use self::world::World;

/// Steps and agents, unless the environment says something else.
const STEPS: u64 = 160;
const AGENTS: u64 = 2;

/// Kinds of outcomes. A run that does not meet all of them shows little.
const OUTCOMES: usize = 6;

/// What happened to an agent: how often each kind of step, what connections got, and the first step that went wrong.
#[derive(Default)]
struct Log {
    steps: BTreeMap<&'static str, u32>,
    outcomes: BTreeMap<&'static str, u32>,
    wrong: Vec<String>,
}

fn sum<'a>(
    counts: impl Iterator<Item = (&'a &'static str, &'a u32)>,
) -> BTreeMap<&'static str, u32> {
    let mut sum = BTreeMap::new();
    counts.for_each(|(what, count)| *sum.entry(*what).or_insert(0) += count);
    sum
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

#[test]
fn the_policy_of_an_agent_is_that_of_the_model() {
    let steps = from_environment("PROXYIP_MODEL_STEPS").unwrap_or(STEPS);
    let agents = from_environment("PROXYIP_MODEL_AGENTS").unwrap_or(AGENTS).max(1);
    let seed = from_environment("PROXYIP_MODEL_SEED").unwrap_or_else(seed_of_now);
    print(&format!("seed {seed}, {steps} steps, {agents} agents"));
    let begun = Instant::now();
    let sites: Vec<_> = (0..agents).map(|_| Site::without_captures()).collect();
    let logs: Vec<_> = thread::scope(|scope| {
        let seeded = sites.iter().zip(seed..);
        let live = |(site, seed)| scope.spawn(move || live(site, seed, steps.div_ceil(agents)));
        let threads: Vec<_> = seeded.map(live).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let of_steps = sum(logs.iter().flat_map(|log| &log.steps));
    let of_outcomes = sum(logs.iter().flat_map(|log| &log.outcomes));
    for (what, count) in of_steps.iter().chain(&of_outcomes) {
        print(&format!("{count:6}  {what}"));
    }
    let wrong: Vec<_> = logs.into_iter().flat_map(|log| log.wrong).collect();
    let (all, seconds) = (of_steps.values().sum::<u32>(), begun.elapsed().as_secs());
    print(&format!("{all} steps in {seconds} s, {} deviations; seed {seed}", wrong.len()));
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
    assert_eq!(of_outcomes.len(), OUTCOMES, "connections of all kinds: {of_outcomes:?}");
    sites.iter().for_each(Site::assert_clean);
}

/// The life of one agent after the other, up to the first step that goes wrong.
fn live(site: &Site, seed: u64, steps: u64) -> Log {
    for port in PORTS {
        application::start(&site.net.server, port);
    }
    // Whoever is not answered leaves a handshake behind.
    site.net.server.sysctl("ipv4.tcp_synack_retries", "1");
    marks::remember(&site.net.server);
    let mut random = Random::new(seed);
    let first = draw::first(&mut random);
    let mut world = World::new(site, random, first);
    let mut log = Log::default();
    for number in 0..steps {
        let (what, wrong) = world.step();
        *log.steps.entry(what).or_default() += 1;
        if !wrong.is_empty() {
            let wrong = wrong.join("\n    ");
            let Policy { commands, .. } = &world.policy;
            log.wrong.push(format!(
                "  step {number} of seed {seed}, {what}:\n    {wrong}\n    under {:#?}\n{commands:?}",
                world.policy.listeners
            ));
            break;
        }
    }
    log.outcomes = world.outcomes.take();
    log
}

/// Not by a macro: the test harness would keep its output to itself.
fn print(line: &str) {
    let line = format!("policy model, {line}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}
