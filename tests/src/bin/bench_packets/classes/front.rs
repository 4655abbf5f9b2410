//! What the programs in front cost: the same packets as elsewhere, by way of these.

use super::{accept, translate, unrelated};
use crate::class::{Class, Runs};

/// A class of each direction, and one whose packets are nobody's business.
const CHOSEN: [&str; 4] = [
    "in: TCP to a port far from guarded ones, IPv4",
    "accept: data in, IPv4",
    "out: TCP from a port that is not guarded, IPv4",
    "translate: data out, IPv4",
];

pub(super) fn classes() -> Vec<Class> {
    let all = [unrelated::classes(), accept::classes(), translate::classes()].concat();
    let behind = |mut class: Class| {
        let Runs::Program(program) = class.runs else { return None };
        class.runs = Runs::Front(program);
        class.name = format!("by the program in front: {}", class.name);
        Some(class)
    };
    let chosen = all.into_iter().filter(|class| CHOSEN.contains(&&*class.name));
    chosen.filter_map(behind).collect()
}
