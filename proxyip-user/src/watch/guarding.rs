//! Whether the kernel programs are where they belong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was last seen of the places of the kernel programs. One thread looks and writes, others read.
#[derive(Clone, Debug, Default)]
pub struct Guarding(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    missing: Vec<String>,
    remarks: Vec<String>,
    mended: u64,
}

impl Guarding {
    /// What is not guarded; a sentence each.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.locked().missing.clone()
    }

    /// What somebody should look at, though all programs are where they belong; a sentence each.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        self.locked().remarks.clone()
    }

    /// How often a program was missing and has been attached or pinned again.
    #[must_use]
    pub fn mended(&self) -> u64 {
        self.locked().mended
    }

    pub(crate) fn count_mended(&self) {
        self.locked().mended += 1;
    }

    /// Notes what is seen now, and logs what was not seen before.
    pub(crate) fn set(&self, missing: Vec<String>, remarks: Vec<String>) {
        let mut state = self.locked();
        for sentence in missing.iter().filter(|sentence| !state.missing.contains(sentence)) {
            tracing::error!("not guarded: {sentence}");
        }
        for sentence in remarks.iter().filter(|sentence| !state.remarks.contains(sentence)) {
            tracing::warn!("{sentence}");
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
