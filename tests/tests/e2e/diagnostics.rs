//! What the agent says on standard error of connections that it refused.

use std::collections::BTreeMap;

use proxyip_tests::{Agent, eventually};

/// The most lines of one reason in a second of the clock. Two seconds of the agent can overlap it. Each has ten
/// lines, and one line with the number of further refusals.
const MOST: u64 = 22;

/// Counts by reason.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What was said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Refusals that have a line of their own.
    pub(crate) shown: Counts,
    /// Refusals that were only counted in a line.
    pub(crate) suppressed: Counts,
    /// Lines of the flow log that were lost.
    pub(crate) lost_lines: u64,
    /// By reason and second: lines.
    lines: BTreeMap<(String, String), u64>,
}

impl Said {
    /// Reads standard error.
    pub(crate) fn read(agent: &mut Agent) -> Self {
        let mut said = Self::default();
        for line in agent.process().stderr().lines() {
            said.take(line);
        }
        said
    }

    fn take(&mut self, line: &str) {
        if let Some(begin) =
            line.strip_suffix(" lines of the flow log were lost in the last second")
        {
            let number = begin.split_whitespace().next_back().expect("a number");
            self.lost_lines += number.parse::<u64>().expect("a number");
            return;
        }
        let Some((message, reason)) = line.split_once("reason=\"") else { return };
        let reason = reason.split('"').next().expect("the end of the reason").to_owned();
        let second = line.get(..19).expect("a line starts with its time").to_owned();
        *self.lines.entry((reason.clone(), second)).or_default() += 1;
        let (counts, count) =
            match message.trim_end().strip_suffix(" more of these in the last second") {
                None => (&mut self.shown, 1),
                Some(begin) => {
                    let number = begin.split_whitespace().next_back().expect("a number");
                    (&mut self.suppressed, number.parse().expect("a number"))
                }
            };
        *counts.entry(reason).or_default() += count;
    }

    /// Refusals of this reason that were said, one way or the other.
    pub(crate) fn of(&self, reason: &str) -> u64 {
        [&self.shown, &self.suppressed].iter().filter_map(|counts| counts.get(reason)).sum()
    }

    /// All refusals that were said.
    pub(crate) fn total(&self) -> u64 {
        self.shown.values().chain(self.suppressed.values()).sum()
    }

    /// The most lines of one reason in one second.
    pub(crate) fn most_in_a_second(&self) -> u64 {
        self.lines.values().copied().max().unwrap_or(0)
    }
}

/// Asserts that the agent's diagnostics are few, and report every refusal. Only refusals with a lost event may be
/// missing.
pub(crate) fn assert_all_said(agent: &mut Agent) -> Said {
    let drops = agent.numbers("drops");
    let refused: u64 = drops.values().sum();
    let lost = agent.counter("event_lost");
    let said = eventually("the last refusals are said", || {
        Some(Said::read(agent)).filter(|said| said.total() + lost >= refused)
    });
    for (reason, count) in &drops {
        assert!(said.of(reason) <= *count, "{reason}: {count} refused, said: {said:?}");
        assert!(said.of(reason) + lost >= *count, "{reason}: {count} refused, said: {said:?}");
    }
    assert!(said.total() <= refused, "{refused} refused, said: {said:?}");
    assert!(said.most_in_a_second() <= MOST, "{said:?}");
    let (shown, suppressed) =
        (said.shown.values().sum::<u64>(), said.suppressed.values().sum::<u64>());
    eprintln!(
        "{refused} refusals: {shown} shown, {suppressed} suppressed, {lost} events lost; \
         {} lines of a reason in a second at most",
        said.most_in_a_second()
    );
    said
}
