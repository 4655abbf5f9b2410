//! Whether a class is what it is said to be.

use std::collections::HashSet;

use proxyip_tests::bench::{Bench, SETTINGS};

use crate::class::{Becomes, Case, Class, Runs};
use crate::yardstick::{Yardstick, fd};

use aya::programs::ProgramFd;

/// How often a frame is seen. A program that did something else the second time would be noticed.
const TIMES: u32 = 3;

/// The program that a class measures.
pub(crate) fn program(bench: &Bench, yardstick: &Yardstick, runs: Runs) -> ProgramFd {
    match runs {
        Runs::Program(program) => fd(bench.program(program)),
        Runs::Front(program) => fd(bench.front(program)),
        Runs::Reference => yardstick.program("reference"),
    }
}

/// Makes the sockets of all classes. Some share one.
pub(crate) fn make_sockets(bench: &mut Bench, classes: &[Class]) {
    let mut made = HashSet::new();
    for (kernel, syn) in classes.iter().filter_map(|class| class.socket.as_ref()) {
        if made.insert(syn.from) {
            bench.prepare(*kernel, syn);
        }
    }
}

/// Tries the case of a class, and its contrast.
///
/// # Panics
/// When a packet is treated otherwise.
pub(crate) fn hold(bench: &mut Bench, yardstick: &mut Yardstick, class: &Class) {
    assert!(class.can_fail(), "{}: nothing would show that the program does its work", class.name);
    if let Some(contrast) = &class.contrast {
        try_case(bench, yardstick, class, contrast);
    }
    try_case(bench, yardstick, class, &class.case);
}

fn try_case(bench: &mut Bench, yardstick: &mut Yardstick, class: &Class, case: &Case) {
    let name = &class.name;
    bench.tables.reset(SETTINGS, &case.before);
    bench.tables.set_in_use(case.in_use);
    if let Some(flooded) = case.flooded {
        bench.tables.set_flooded(flooded);
    }
    if let (Some(record), Some((_, syn))) = (&case.record, &class.socket) {
        bench.set_record(syn, record);
    }
    if let (Some(ahead), Some((_, syn))) = (case.ahead, &class.socket) {
        bench.set_ahead(syn, ahead);
    }
    let program = program(bench, yardstick, class.runs);
    let run = yardstick.run(&program, (&case.frame, case.index), TIMES);
    assert_eq!(run.verdict, case.verdict, "{name}: the verdict");
    match &case.becomes {
        Becomes::Same => assert_eq!(run.frame, case.frame, "{name}: the frame"),
        Becomes::This(frame) => assert_eq!(run.frame, *frame, "{name}: the frame"),
        Becomes::Other => assert_ne!(run.frame, case.frame, "{name}: the frame"),
    }
    let counts: Vec<_> = case.counts.iter().map(|count| (*count, TIMES.into())).collect();
    assert_same(name, &bench.tables.counts(), &counts);
    assert_same(name, &bench.tables.entries(), &case.leaves);
}

/// The same in any order.
fn assert_same<T: PartialEq + std::fmt::Debug>(name: &str, found: &[T], expected: &[T]) {
    let same = found.len() == expected.len() && expected.iter().all(|one| found.contains(one));
    assert!(same, "{name}: found {found:?}, expected {expected:?}");
}
