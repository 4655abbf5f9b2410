//! Churn: namespaces under a pattern come and go at random under load.
//!
//! Each connection to a guarded namespace shows its client. `status` is never behind by more than the grace. The agent
//! holds the same at the end as at the beginning.

mod scene;
mod sizes;
mod visits;
mod watch;
mod world;

use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use proxyip_tests::random::{Random, seed_of_now};
use proxyip_tests::{
    Agent, Guard, Pod, Site, remove_everything, remove_everything_on_signals, use_agent_binary,
};

use crate::scene::Scene;
use crate::sizes::Size;
use crate::visits::Visits;
use crate::world::World;

/// Who opens connections at a time, beside those who wait for a namespace to be guarded.
const WORKERS: u64 = 4;
/// Rounds of coming and going; the agent is measured after each.
const ROUNDS: u32 = 10;
/// How often the agent is measured at least: before it is warm, and two times to compare.
const LEAST: usize = 3;
/// No round is shorter.
const SHORTEST: Duration = Duration::from_secs(3);
/// What has just come or gone still makes work.
const SETTLES: Duration = Duration::from_secs(2);

/// Why a connection is refused whose handshake has begun before its interface was attached to.
const CROSSED: &str = "handshake_unknown";

/// Lets network namespaces come and go while an agent serves them
#[derive(Parser)]
#[command(name = "churn")]
struct Options {
    /// The path of the program
    agent: PathBuf,
    /// For how many seconds namespaces come and go
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(10..))]
    seconds: u64,
    /// How many there can be
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u8).range(2..=250))]
    namespaces: u8,
    /// For how many milliseconds the agent's word may differ from the truth
    #[arg(long, default_value_t = 1000)]
    grace_ms: u64,
    /// What decides about everything: the number that an earlier run has printed
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    use_agent_binary(options.agent.clone());
    remove_everything_on_signals("the churn");
    let seed = options.seed.unwrap_or_else(seed_of_now);
    println!("seed {seed}");
    // A panic has printed its message, and dropping the fixtures has removed what they made.
    let outcome = panic::catch_unwind(|| run(&options, seed));
    remove_everything();
    if outcome.is_ok_and(|faults| faults == 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the number of faults.
fn run(options: &Options, seed: u64) -> usize {
    let site = Site::without_captures();
    let world = World::new(options.namespaces, Duration::from_millis(options.grace_ms));
    let (visits, stop) = (Visits::default(), AtomicBool::new(false));
    let netns = format!("/run/netns/{}-pod*", site.scratch.name());
    let guard = Guard::ports(&[80])
        .also_trusting(Pod::NETWORK)
        .interface_setting(&format!("[[interface]]\nname = \"eth*\"\nnetns = {netns:?}"));
    let mut agent = Agent::start(&site, &guard);
    let pid = agent.process().pid();
    let mut sizes = Vec::new();
    let (made, looks) = thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        let (site, world, visits, stop) = (&site, &world, &visits, &stop);
        let watcher = scope.spawn(|| watch::watch(site, world, stop));
        for worker in 0..WORKERS {
            let random = Random::new(seed + 1 + worker);
            scope.spawn(move || site.net.balancer.enter(|| visits.work(world, stop, random)));
        }
        let pods = (0..options.namespaces).map(|_| None).collect();
        let mut scene = Scene { scope, site, world, visits, stop, pods, made: 0 };
        sizes = play(&mut scene, pid, options.seconds, seed);
        stop.store(true, Ordering::Relaxed);
        scene.end();
        (scene.made, watcher.join().expect("the watcher has looked to the end"))
    });
    assert!(agent.process().is_alive(), "the agent has ended");
    for (label, count) in agent.numbers("drops") {
        let crossed = visits.crossed.load(Ordering::Relaxed);
        if label != CROSSED || count < crossed {
            world.fault(format!("{count} refused: {label}; {crossed} crossed an attachment"));
        }
    }
    for what in Size::growth(&sizes[1..]) {
        world.fault(format!("the agent has grown: {what}"));
    }
    report(&world, &visits, &sizes);
    println!(
        "{made} namespaces came, {looks} looks at status, {} faults; seed {seed}",
        world.faults()
    );
    world.faults()
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Measures the agent before the first round and after each.
fn play(scene: &mut Scene<'_, '_>, pid: u32, seconds: u64, seed: u64) -> Vec<Size> {
    let (time, mut random) = (Duration::from_secs(seconds), Random::new(seed));
    let begun = Instant::now();
    let mut sizes = Vec::new();
    loop {
        scene.fill();
        thread::sleep(SETTLES);
        sizes.push(Size::of(scene.site, pid));
        if sizes.len() >= LEAST && begun.elapsed() >= time {
            return sizes;
        }
        scene.churn((time / ROUNDS).max(SHORTEST), &mut random);
    }
}

fn report(world: &World, visits: &Visits, sizes: &[Size]) {
    for (number, size) in sizes.iter().enumerate() {
        println!("round {number}: {size}");
    }
    for (what, mut times) in ["guarded", "forgotten"].into_iter().zip(world.times()) {
        times.sort();
        let at =
            |share: usize| times.get((times.len() * share / 100).min(times.len() - 1)).copied();
        let [half, most, nearly, all] =
            [50, 90, 99, 100].map(|share| at(share).unwrap_or_default());
        println!(
            "{} {what} after: half {half:.2?}, 90 % {most:.2?}, 99 % {nearly:.2?}, all {all:.2?}",
            times.len()
        );
    }
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    println!(
        "{} connections showed their client; {} kept their header before the namespace was guarded, {} were reset as it \
         became so, {} met its end",
        count(&visits.shown),
        count(&visits.early),
        count(&visits.crossed),
        count(&visits.passing)
    );
}
