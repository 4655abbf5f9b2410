//! Chaos: everything that a host does to an agent, at random, under load through `HAProxy`.
//!
//! No application takes anybody else for its client. It gets the load balancer or a header only while a surface says
//! that something is wrong. Each deviation is named within five seconds, and nothing hangs.

mod application;
mod book;
mod load;
mod round;
mod scene;
mod surfaces;
mod trouble;

use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, panic};

use proxyip_tests::random::{Random, seed_of_now};
use proxyip_tests::{Site, eventually, remove_everything, use_agent_binary, visitors};

use crate::book::{Book, Lost, Unguarded};
use crate::load::{HANGS, LASTS, Load, PORTS};
use crate::round::{Counts, NAMED, Outcome, Stage, head};
use crate::scene::Scene;
use crate::surfaces::Surfaces;

/// Where a rule of NAT leads connections to.
const ELSEWHERE: u16 = 8080;
/// Before this, a surface cannot have known.
const BEFORE: Duration = Duration::from_millis(100);
/// How many mistakes of a kind are shown.
const SHOWN: usize = 10;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    // Another mount namespace is another working directory.
    let binary = arguments.next().and_then(|path| fs::canonicalize(path).ok());
    let binary = binary.filter(|path| path.is_file());
    let mut number = || arguments.next()?.to_str()?.parse().ok();
    let (minutes, seed) = (number(), number());
    let (Some(binary), Some(minutes)) = (binary, minutes) else {
        eprintln!(
            "usage: chaos PROXYIP MINUTES [SEED] (the path of the program, and whole numbers)"
        );
        return ExitCode::from(2);
    };
    use_agent_binary(binary);
    let seed = seed.unwrap_or_else(seed_of_now);
    println!("seed {seed}");
    // A panic has printed its message, and dropping the fixtures has removed what they made.
    let outcome = panic::catch_unwind(|| chaos(Duration::from_mins(minutes), seed));
    remove_everything();
    if outcome.is_ok_and(|is_right| is_right) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether nothing was wrong.
fn chaos(time: Duration, seed: u64) -> bool {
    let site = Site::without_captures();
    prepare(&site);
    let load = Load::default();
    for port in PORTS.into_iter().chain([ELSEWHERE]) {
        application::start(&site.net.server, port, &load.book);
    }
    let mut scene = Scene::new(&site);
    let surfaces = Surfaces::of(&site);
    scene.start_agent();
    let start = Instant::now();
    let (outcomes, end) = surfaces.watched(|| {
        eventually("everything is guarded", || surfaces.calm_since());
        load.beside(&site, || {
            eventually("everything is served", || load.is_served(&site).then_some(()));
            let random = &mut Random::new(seed);
            let stage = Stage { scene: &mut scene, surfaces: &surfaces, load: &load, random };
            (play(stage, &load.book, start + time), Instant::now())
        })
    });
    scene.detach();
    let faults = judge(&load.book, &surfaces, &outcomes, start..end);
    for fault in &faults {
        println!("WRONG: {fault}");
    }
    let (served, lost) = (load.book.count_served(), load.book.all_lost().len());
    let open = load.book.all_unguarded().len();
    println!(
        "{served} connections served, {lost} lost, {open} open while that was named; {} rounds, {} faults; seed {seed}",
        outcomes.len(),
        faults.len()
    );
    faults.is_empty()
}

/// What troubles must find.
fn prepare(site: &Site) {
    visitors::make_addresses(site);
    for namespace in [&site.net.balancer, &site.net.server] {
        // An interface that goes down keeps its addresses.
        namespace.sysctl("ipv6.conf.all.keep_addr_on_down", "1");
        namespace.sysctl("ipv6.conf.default.keep_addr_on_down", "1");
    }
    // What was lost is sent again at least every two seconds. Otherwise a few troubles in a row delay it by as long as a
    // connection that hangs. Linux 6.15 or later.
    for namespace in [&site.net.balancer, &site.net.server] {
        if namespace.enter(|| Path::new("/proc/sys/net/ipv4/tcp_rto_max_ms").exists()) {
            namespace.sysctl("ipv4.tcp_rto_max_ms", "2000");
        }
    }
    // Has connections tracked, and sysctls for that.
    site.net.server.run("iptables -A INPUT -m conntrack --ctstate INVALID");
    site.net.server.sysctl("netfilter.nf_conntrack_tcp_loose", "1");
}

/// Plays until then.
fn play(mut stage: Stage<'_, '_>, book: &Arc<Book>, end: Instant) -> Vec<Outcome> {
    let start = Instant::now();
    let mut outcomes: Vec<Outcome> = Vec::new();
    println!("{}", head());
    while Instant::now() < end {
        let outcome = stage.play();
        let within = |at: Instant| outcome.begun <= at && at < outcome.ended;
        let lost = book.all_lost().iter().filter(|lost| within(lost.begun)).count();
        let open = book.all_unguarded().iter().filter(|one| within(one.at)).count();
        print!("{}", outcome.rows(start, &Counts { lost, open }));
        for fault in &outcome.faults {
            println!("      WRONG: {fault}");
        }
        outcomes.push(outcome);
    }
    outcomes
}

/// All that was wrong; a sentence each.
fn judge(
    book: &Book,
    surfaces: &Surfaces,
    outcomes: &[Outcome],
    time: Range<Instant>,
) -> Vec<String> {
    let mut faults: Vec<_> = outcomes.iter().flat_map(|outcome| outcome.faults.clone()).collect();
    let mut add = |what: &str, found: Vec<String>| {
        if !found.is_empty() {
            let shown: Vec<_> = found.iter().take(SHOWN).map(String::as_str).collect();
            faults.push(format!("{} {what}:\n  {}", found.len(), shown.join("\n  ")));
        }
    };
    add("connections with a wrong client", book.all_wrong());
    let unnamed = |one: &Unguarded| {
        let (from, until) = (one.at.checked_sub(BEFORE).unwrap_or(one.at), one.at + NAMED);
        // Afterwards nobody looks any more.
        until < time.end
            && surfaces.named_between(from, until).is_none()
            && !surfaces.were_silent(one.at)
    };
    let unguarded = book.all_unguarded().into_iter().filter(unnamed);
    add(
        "headers or load balancers in the application, and no surface named it",
        unguarded
            .map(|one| {
                let at = one.at.saturating_duration_since(time.start).as_secs_f32();
                format!("at {at:.1} s, {one}")
            })
            .collect(),
    );
    let had_translation = |begun: Instant| {
        let mut ending = outcomes.iter().filter(|outcome| outcome.ends_translations());
        ending.any(|it| it.begun < begun + LASTS && begun < it.ended)
    };
    let hung = book
        .all_lost()
        .into_iter()
        .filter(|Lost { begun, lasted, .. }| *lasted > HANGS && !had_translation(*begun));
    add(
        "connections that hung",
        hung.map(|Lost { begun, lasted, error }| {
            let at = begun.saturating_duration_since(time.start).as_secs();
            format!("begun at {at} s, ended after {lasted:.1?}: {error}")
        })
        .collect(),
    );
    faults
}
