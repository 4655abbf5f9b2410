//! Whether the kernel programs are where they belong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proxyip_api::finding::{Finding, FindingKind};

use crate::config::{Netns, Xdp};

/// What was last seen of the places of the kernel programs. One thread looks and writes, others read.
#[derive(Clone, Debug, Default)]
pub struct Guarding(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    missing: Vec<Finding>,
    remarks: Vec<Finding>,
    mended: u64,
    served: Vec<Place>,
}

/// An interface that the kernel programs are attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// The namespace it is in.
    pub netns: Netns,
    /// What became of the wish for a program at XDP; `None` without one.
    pub xdp: Option<AtXdp>,
}

/// What became of the wish for a program at XDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtXdp {
    /// As configured.
    pub wanted: Xdp,
    /// Where the program runs, or why there is none.
    pub mode: Result<&'static str, String>,
}

impl Guarding {
    /// What is not guarded.
    #[must_use]
    pub fn missing(&self) -> Vec<Finding> {
        self.locked().missing.clone()
    }

    /// What somebody should look at, though all programs are where they belong.
    #[must_use]
    pub fn remarks(&self) -> Vec<Finding> {
        self.locked().remarks.clone()
    }

    /// What a reload has left undone: what is not guarded, and the patterns that find nothing.
    pub(crate) fn after_reload(&self) -> Vec<Finding> {
        let state = self.locked();
        let unmatched =
            state.remarks.iter().filter(|one| one.label == FindingKind::MatchesNothing.label());
        state.missing.iter().chain(unmatched).cloned().collect()
    }

    /// How often a program was missing and has been attached or pinned again.
    #[must_use]
    pub fn mended(&self) -> u64 {
        self.locked().mended
    }

    /// The interfaces that are there to be attached to, each once.
    #[must_use]
    pub fn served(&self) -> Vec<Place> {
        self.locked().served.clone()
    }

    pub(crate) fn set_served(&self, served: Vec<Place>) {
        self.locked().served = served;
    }

    pub(crate) fn count_mended(&self) {
        self.locked().mended += 1;
    }

    /// Notes what is seen now, and logs what was not seen before.
    pub(crate) fn set(&self, missing: Vec<Finding>, remarks: Vec<Finding>) {
        let mut state = self.locked();
        for one in missing.iter().filter(|one| !state.missing.contains(one)) {
            say(one);
        }
        for one in remarks.iter().filter(|one| !state.remarks.contains(one)) {
            tracing::warn!("{}", one.sentence);
        }
        if missing.is_empty() && state.missing.iter().any(is_error) {
            tracing::info!("everything is guarded again");
        }
        state.missing = missing;
        state.remarks = remarks;
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn say(one: &Finding) {
    if is_error(one) {
        tracing::error!("not guarded: {}", one.sentence);
    } else {
        tracing::info!("not guarded yet: {}", one.sentence);
    }
}

/// What is not guarded is an error, unless the agent is about to guard it, as at each start with patterns.
fn is_error(one: &Finding) -> bool {
    one.label != FindingKind::NamespaceWaits.label()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: FindingKind) -> Finding {
        Finding::new(kind, kind.label())
    }

    #[test]
    fn what_waits_for_its_turn_is_no_error() {
        assert!(!is_error(&finding(FindingKind::NamespaceWaits)));
        assert!(is_error(&finding(FindingKind::NamespaceLost)));
    }

    #[test]
    fn a_reload_hears_of_patterns_that_find_nothing() {
        let guarding = Guarding::default();
        let lost = finding(FindingKind::NamespaceLost);
        let [nothing, first] =
            [FindingKind::MatchesNothing, FindingKind::OtherProgramFirst].map(finding);
        guarding.set(vec![lost.clone()], vec![first, nothing.clone()]);
        assert_eq!(guarding.after_reload(), [lost, nothing]);
    }
}
