//! What the kernel says that an agent's programs cost.

use aya::sys::{Stats, enable_stats};
use proxyip_tests::{Agent, KernelObjects, Site};

use crate::generator::Outcome;
use crate::report;
use crate::rounds::Round;

/// All runs of a program.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub(crate) name: String,
    pub(crate) runs: f64,
    pub(crate) nanoseconds: f64,
}

/// What the agent's programs cost while `work` runs, and what `work` gives. Those that did not run are left out.
///
/// # Panics
/// When the kernel keeps no statistics, or no program has run.
pub(crate) fn during<T>(
    site: &Site,
    agent: &mut Agent<'_>,
    work: impl FnOnce() -> T,
) -> (Vec<Cost>, T) {
    let objects = KernelObjects::of(agent.process().pid(), &site.scratch.pin_path());
    let statistics = enable_stats(Stats::RunTime).expect("statistics of programs");
    let before = objects.runs();
    let result = work();
    let after = objects.runs();
    drop(statistics);
    let costs = after.into_iter().filter_map(|(name, after)| {
        let before = before.get(&name).copied().unwrap_or_default();
        let (runs, nanoseconds) = (after.0 - before.0, after.1 - before.1);
        (runs > 0).then(|| Cost { name, runs: number(runs), nanoseconds: number(nanoseconds) })
    });
    let costs: Vec<_> = costs.collect();
    assert!(!costs.is_empty(), "no program of the agent has run");
    (costs, result)
}

/// Prints what the agent's programs cost of each answer under this load, if the round counts. Statistics make programs slower:
/// the outcome is of the same load without them.
pub(crate) fn measure(
    (site, agent): (&Site, &mut Agent<'_>),
    name: &str,
    round: Round,
    (load, outcome): (impl FnOnce() -> Outcome, Outcome),
) {
    if round.counts() {
        let (costs, again) = during(site, agent, load);
        let nanoseconds = costs.iter().map(|cost| cost.nanoseconds).sum::<f64>();
        let each = nanoseconds / number(again.answers_in_all);
        report::share(name, each, outcome.nanoseconds_worked());
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact for weeks")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}
