//! Upgrades: an agent of an older version, with another layout of maps, is killed, and the new one takes over. Then the older
//! one takes over again, and the new one.
//!
//! Connections of all hand-offs go on, begin and end all the while. None is lost, and each has its client.

mod talk;

use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use clap::Parser;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Agent, Guard, HandOff, Site, address, eventually, remove_everything,
    remove_everything_on_signals, use_agent_binary,
};

use crate::talk::{Door, Talk};

/// One port for each hand-off.
const DOORS: [Door; 3] = [
    Door { port: 80, hand_off: HandOff::Accept },
    Door { port: 81, hand_off: HandOff::Translate },
    Door { port: 82, hand_off: HandOff::Observe },
];
/// How many connections of each hand-off live through an upgrade.
const LIVING: u64 = 10;
/// How many connections of each hand-off begin at a time.
const WORKERS: usize = 2;
/// How many connections must begin and end before an upgrade, and after it.
const ENOUGH: u64 = 60;
/// Between two lines on each connection that lives.
const PAUSE: Duration = Duration::from_millis(50);

/// Upgrades an agent under load, and goes back
#[derive(Parser)]
#[command(name = "upgrade")]
struct Options {
    /// The path of the older program
    old: PathBuf,
    /// The path of the newer program
    new: PathBuf,
    /// How often
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
}

/// Everybody who opens connections.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    next: AtomicU64,
    ended: AtomicU64,
    faults: Mutex<Vec<String>>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    use_agent_binary(options.new.clone());
    remove_everything_on_signals("the upgrade");
    // A panic has printed its message, and dropping the fixtures has removed what they made.
    let outcome = panic::catch_unwind(|| upgrades(&options));
    remove_everything();
    if outcome.is_ok_and(|faults| faults == 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns how many connections were lost or had a wrong client.
fn upgrades(options: &Options) -> usize {
    let (mut all, mut ended) = (0, 0);
    for time in 1..=options.times {
        let load = Load::default();
        upgrade(options, &load);
        let faults = load.faults.into_inner().expect("no thread has panicked");
        for fault in &faults {
            println!("WRONG: upgrade {time}: {fault}");
        }
        all += faults.len();
        ended += load.ended.into_inner();
    }
    println!("{} times there, back and there: {ended} connections, {all} faults", options.times);
    all
}

fn upgrade(options: &Options, load: &Load) {
    let site = Site::without_captures();
    let _servers =
        DOORS.map(|door| EchoServer::start(&site.net.server, address::SERVER, door.port));
    let [first, others @ ..] = DOORS.map(|door| {
        Guard::ports(&[door.port]).named(door.hand_off.setting()).hand_off(door.hand_off)
    });
    let guard = others.iter().fold(first, Guard::with);
    let old = site.net.server.command(&options.old.display().to_string());
    let mut agent = Agent::start_by(old, &site, &guard);
    let living: Vec<_> = (0..LIVING)
        .flat_map(|_| DOORS)
        .map(|door| site.net.balancer.enter(|| Talk::open(door, load.number())))
        .map(|talk| talk.expect("a connection to the older agent"))
        .collect();
    load.beside(&site, &living, || {
        for (number, next) in [&options.new, &options.old, &options.new].into_iter().enumerate() {
            load.wait_ended();
            agent.kill();
            agent.start_again_by(site.net.server.command(&next.display().to_string()));
            // All of them write to one log.
            let said = agent.process().stderr();
            let times = said.matches("took over from a version with another layout").count();
            assert_eq!(times, number + 1, "{said}");
            load.note(living.iter().filter_map(|talk| talk.is_known(&agent).err()));
        }
        load.wait_ended();
    });
    // What came while the maps were copied is sent again.
    let drops: Vec<_> =
        agent.numbers("drops").into_iter().filter(|(label, _)| label != "held").collect();
    load.note(drops.into_iter().map(|(label, count)| format!("{count} refused: {label}")));
}

impl Load {
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn note(&self, faults: impl IntoIterator<Item = String>) {
        self.faults.lock().expect("no thread has panicked").extend(faults);
    }

    /// Opens connections, and talks on those that live, beside `what`.
    fn beside(&self, site: &Site, living: &[Talk], what: impl FnOnce()) {
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        thread::scope(|scope| {
            let _stop = Stop(&self.stop);
            for door in DOORS.iter().flat_map(|door| [*door; WORKERS]) {
                scope.spawn(move || site.net.balancer.enter(|| self.work(door)));
            }
            scope.spawn(|| self.talk(living));
            what();
        });
    }

    fn work(&self, door: Door) {
        while !self.stop.load(Ordering::Relaxed) {
            let talked = Talk::open(door, self.number()).and_then(|talk| talk.say());
            self.note(talked.err());
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Until all is over, and once more then.
    fn talk(&self, living: &[Talk]) {
        loop {
            let is_last = self.stop.load(Ordering::Relaxed);
            self.note(living.iter().filter_map(|talk| talk.say().err()));
            if is_last {
                return;
            }
            thread::sleep(PAUSE);
        }
    }

    fn wait_ended(&self) {
        let before = self.ended.load(Ordering::Relaxed);
        eventually("connections", || {
            (self.ended.load(Ordering::Relaxed) >= before + ENOUGH).then_some(())
        });
    }
}
