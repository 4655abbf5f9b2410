//! Lines may be long: what waits for the writer is bounded by its memory, and not only by the number of batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory for lines that wait for the writer.
pub(crate) const BYTES: usize = 16 << 20;

/// How many bytes wait for the writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// Whether there is room for this many more bytes. If so, they count as waiting.
    pub(crate) fn enter(&self, bytes: usize) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= BYTES;
        if !fits {
            self.leave(bytes);
        }
        fits
    }

    /// So many wait no more.
    pub(crate) fn leave(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}
