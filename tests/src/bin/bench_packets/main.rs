//! `cargo xtask bench packets`: what the kernel programs cost for each class of packets. Prints a line for each class.
//!
//! The programs run by `BPF_PROG_TEST_RUN`, many times in a row, in a network namespace with real sockets and tables.

mod class;
mod classes;
mod costs;
mod rounds;
mod trial;
mod wire;
mod yardstick;

use std::time::Duration;

use clap::Parser;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use proxyip_common::cookie::EPOCH_NS;
use proxyip_tests::bench::{Arrangement, Bench, await_room_in_epoch, now_ns, on_bench_with};

use rounds::Effort;
use yardstick::Yardstick;

/// How long the measurement of classes takes at most, on a busy host.
const ROOM: Duration = Duration::from_secs(100);

/// Making tables empty before each connection takes long.
const ROUNDS_ON_THE_WIRE: usize = 31;

/// Classes have packets for the first listeners of the bench: `AUTO`, `TRANSLATE` and `OBSERVE`.
const LISTENERS: u32 = 3;

/// How much to measure
#[derive(Parser)]
struct Arguments {
    /// How often to measure each class; those of the wire less often
    #[arg(long, default_value_t = 101)]
    rounds: usize,
    /// How often a program sees the packet each time
    #[arg(long, default_value_t = 1000)]
    repeat: u32,
    /// Part of the names of the classes to measure
    #[arg(long, default_value = "")]
    only: String,
}

fn main() {
    let arguments = Arguments::parse();
    on_bench_with(Arrangement::BehindFronts, |bench| run(bench, &arguments));
}

fn run(bench: &mut Bench, arguments: &Arguments) {
    stay_on_one_processor();
    await_room_in_epoch(ROOM);
    let begin = epoch();
    bench.tables.look_at_listeners(LISTENERS);
    let mut yardstick = Yardstick::new(bench.interface);
    let mut classes = classes::all();
    // The first is the unit.
    let mut first = true;
    classes.retain(|class| std::mem::take(&mut first) || class.name.contains(&arguments.only));
    trial::make_sockets(bench, &classes);
    for class in &classes {
        trial::hold(bench, &mut yardstick, class);
    }
    let effort = Effort { rounds: arguments.rounds, repeat: arguments.repeat };
    bench.take_events();
    let costs = rounds::measure(bench, &mut yardstick, &classes, effort);
    assert_eq!(epoch(), begin, "cookies have grown old meanwhile: measure less, or again");
    assert_eq!(bench.take_events(), 0, "a program would soon have no room for its events");
    for (class, cost) in classes.iter().zip(&costs) {
        println!("{}", cost.line(&class.name, &costs[0]));
    }
    let mut openings = wire::all();
    openings.retain(|opening| opening.name.contains(&arguments.only));
    let wire_costs =
        wire::measure(bench, &yardstick, &openings, arguments.rounds.min(ROUNDS_ON_THE_WIRE));
    for (opening, cost) in openings.iter().zip(&wire_costs) {
        println!("{}", cost.line(&opening.name, &costs[0]));
    }
}

/// The epoch of the cookies that are made now.
fn epoch() -> u64 {
    now_ns() / EPOCH_NS
}

/// Maps have a value for each processor, and caches belong to one.
fn stay_on_one_processor() {
    let mut one = CpuSet::new();
    one.set(0).expect("a processor");
    sched_setaffinity(Pid::from_raw(0), &one).expect("the thread can be bound to it");
}
