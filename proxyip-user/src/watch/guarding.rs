//! Whether the kernel programs are where they belong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proxyip_api::finding::Finding;

use crate::config::Netns;

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
            tracing::error!("not guarded: {}", one.sentence);
        }
        for one in remarks.iter().filter(|one| !state.remarks.contains(one)) {
            tracing::warn!("{}", one.sentence);
        }
        if missing.is_empty() && !state.missing.is_empty() {
            tracing::info!("everything is guarded again");
        }
        state.missing = missing;
        state.remarks = remarks;
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
