//! What is printed: lines of fields with tabs between them, for `cargo xtask bench`.

use crate::programs::{Cost, number};

/// Prints what a contender did in one round. The first contender of a group is the one that others are compared with.
pub(crate) fn sample(group: &str, contender: &str, value: f64, errors: u64) {
    println!("sample\t{group}\t{contender}\t{value:.6}\t{errors}");
}

/// Prints what the kernel programs cost of each answer in one round, and which share this is of `whole`, all in
/// nanoseconds.
pub(crate) fn programs(contender: &str, costs: &[Cost], answers: u64, whole: f64) {
    let answers = number(answers);
    let mut sum = 0.0;
    for Cost { name, runs, nanoseconds } in costs {
        let (runs, nanoseconds) = (runs / answers, nanoseconds / answers);
        sum += nanoseconds;
        let share = nanoseconds / whole;
        println!("program\t{contender}\t{name}\t{runs:.3}\t{nanoseconds:.1}\t{share:.6}");
    }
    share(contender, sum, whole);
}

/// Prints what something cost of each answer in one round, and which share this is of `whole`, both in nanoseconds.
pub(crate) fn share(name: &str, nanoseconds: f64, whole: f64) {
    println!("share\t{name}\t{nanoseconds:.1}\t{:.6}", nanoseconds / whole);
}
