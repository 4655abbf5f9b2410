//! Keeps warnings of one kind from flooding the log.

use std::collections::HashMap;

/// How many warnings of one kind are shown between two ticks.
const PER_TICK: u64 = 10;

/// Counts warnings by kind.
#[derive(Debug, Default)]
pub struct Warnings {
    seen: HashMap<&'static str, u64>,
}

impl Warnings {
    /// Whether to show one more warning of this kind.
    pub fn allow(&mut self, kind: &'static str) -> bool {
        let seen = self.seen.entry(kind).or_default();
        *seen += 1;
        *seen <= PER_TICK
    }

    /// Starts the next period. Returns what was suppressed, by kind. Call it once a second.
    pub fn tick(&mut self) -> Vec<(&'static str, u64)> {
        let seen = std::mem::take(&mut self.seen).into_iter();
        seen.filter_map(|(kind, seen)| Some((kind, seen.checked_sub(PER_TICK)?)))
            .filter(|(_, suppressed)| *suppressed > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_of_a_kind_are_shown_and_the_rest_counted() {
        let mut warnings = Warnings::default();
        let shown = (0..25).filter(|_| warnings.allow("mptcp")).count();
        assert_eq!(shown, 10);
        assert!(warnings.allow("v1_port"));
        assert_eq!(warnings.tick(), [("mptcp", 15)]);
        assert!(warnings.allow("mptcp"));
        assert_eq!(warnings.tick(), []);
    }
}
