//! Sentences that hold until they are taken back.

use std::sync::{Arc, Mutex, PoisonError};

/// A sentence for the operator, while something is not as it should be.
#[derive(Clone, Debug, Default)]
pub struct Remark(Arc<Mutex<Option<String>>>);

impl Remark {
    /// The sentence, if it holds.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the sentence, or takes it back. Returns the one before.
    pub(crate) fn set(&self, sentence: Option<String>) -> Option<String> {
        let mut there = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *there, sentence)
    }
}
