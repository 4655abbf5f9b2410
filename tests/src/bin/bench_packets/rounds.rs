//! Rounds: in each of them every class is measured once.

use aya::programs::ProgramFd;
use proxyip_tests::bench::{Bench, Count, Entry, SETTINGS};

use crate::class::Class;
use crate::costs::Costs;
use crate::trial::program;
use crate::yardstick::Yardstick;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// How often a program sees a frame in a round.
    pub(crate) repeat: u32,
}

/// Measures all classes. What the measuring itself costs is measured beside each, and subtracted.
///
/// # Panics
/// When a program has not done the same each time.
pub(crate) fn measure(
    bench: &mut Bench,
    yardstick: &mut Yardstick,
    classes: &[Class],
    effort: Effort,
) -> Vec<Costs> {
    let entries: Vec<Entry> = classes.iter().flat_map(|class| class.case.before.clone()).collect();
    bench.tables.reset(SETTINGS, &entries);
    let programs: Vec<_> =
        classes.iter().map(|class| program(bench, yardstick, class.runs)).collect();
    let nothing = yardstick.program("nothing");
    let mut costs = vec![Costs::default(); classes.len()];
    for _ in 0..effort.rounds {
        for ((class, program), costs) in classes.iter().zip(&programs).zip(&mut costs) {
            bench.tables.set_in_use(class.case.in_use);
            if let Some(flooded) = class.case.flooded {
                bench.tables.set_flooded(flooded);
            }
            let floor = duration(yardstick, &nothing, class, effort.repeat);
            let whole = duration(yardstick, program, class, effort.repeat);
            costs.add(whole / class.units(), floor / class.units());
        }
    }
    assert_counts(bench, classes, effort);
    costs
}

fn duration(yardstick: &mut Yardstick, program: &ProgramFd, class: &Class, repeat: u32) -> f64 {
    let case = &class.case;
    yardstick.run(program, (&case.frame, case.index), repeat).duration
}

/// Each run has counted what its class counts.
fn assert_counts(bench: &Bench, classes: &[Class], effort: Effort) {
    let runs = u64::try_from(effort.rounds).expect("a few rounds") * u64::from(effort.repeat);
    let mut expected: Vec<(Count, u64)> = Vec::new();
    for count in classes.iter().flat_map(|class| &class.case.counts) {
        match expected.iter_mut().find(|(other, _)| other == count) {
            Some((_, sum)) => *sum += runs,
            None => expected.push((*count, runs)),
        }
    }
    let counts = bench.tables.counts();
    let same = counts.len() == expected.len() && expected.iter().all(|one| counts.contains(one));
    assert!(same, "counted {counts:?}, expected {expected:?}");
}
