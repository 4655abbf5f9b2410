//! Lists of networks that are older than their files.

use std::sync::{Arc, Mutex, PoisonError};

/// Whether lists in force are older than their files, and why.
#[derive(Clone, Debug, Default)]
pub struct StaleLists(Arc<Mutex<Option<String>>>);

impl StaleLists {
    /// A sentence, if they are.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why they are, or that they are not.
    pub(crate) fn set(&self, sentence: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = sentence;
    }
}
