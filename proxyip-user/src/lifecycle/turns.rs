//! When a namespace among many is looked at.

use std::time::Instant;

use crate::host::served::{rest, turns};

/// The places of those to be looked at: all that have not been, and of those that have rested the ones that have waited
/// longest.
pub(super) fn chosen(looked_at: &[Option<Instant>], now: Instant) -> Vec<usize> {
    let (rest, turns) = (rest(looked_at.len()), turns(looked_at.len()));
    let mut due: Vec<_> = (0..looked_at.len())
        .filter(|at| looked_at[*at].is_none_or(|looked| now.duration_since(looked) >= rest))
        .collect();
    // `None` comes first.
    due.sort_by_key(|at| looked_at[*at]);
    let new = due.iter().filter(|at| looked_at[**at].is_none()).count();
    due.truncate(new + turns);
    due
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_namespace_has_its_turn_however_slow_the_rounds_are() {
        const COUNT: usize = 256;
        let (mut now, mut looked_at) = (Instant::now(), vec![None; COUNT]);
        assert_eq!(chosen(&looked_at, now).len(), COUNT, "all are new");
        looked_at.fill(Some(now));
        for milliseconds in [1000, 1100, 1500, 3000] {
            let mut turns = [0; COUNT];
            for _ in 0..200 {
                now += Duration::from_millis(milliseconds);
                for at in chosen(&looked_at, now) {
                    looked_at[at] = Some(now);
                    turns[at] += 1;
                }
            }
            assert!(turns.iter().all(|turns| *turns > 2), "{milliseconds}: {turns:?}");
        }
    }
}
