//! Lines that are handed to the writer together.

/// Whole lines, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    /// Where the last whole line ends.
    whole: usize,
    count: u64,
}

impl Lines {
    /// Adds what `write` appends, and a line feed. If it panics, nothing is added.
    pub(crate) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.truncate(self.whole);
        write(&mut self.bytes);
        self.bytes.push(b'\n');
        self.whole = self.bytes.len();
        self.count += 1;
    }

    /// Takes all lines, and leaves room for as many.
    pub(crate) fn take(&mut self) -> Self {
        let next = Self { bytes: Vec::with_capacity(self.whole), ..Self::default() };
        std::mem::replace(self, next)
    }

    /// The lines, each with its line feed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.whole]
    }

    /// The memory that they take, in bytes.
    pub(crate) const fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_line_that_was_not_finished_is_not_there() {
        let mut lines = Lines::default();
        lines.add(|line| line.extend(b"one"));
        let unfinished = || {
            lines.add(|line| {
                line.extend(b"tw");
                panic!("in the middle");
            });
        };
        catch_unwind(AssertUnwindSafe(unfinished)).unwrap_err();
        assert_eq!((lines.bytes(), lines.count()), (b"one\n".as_slice(), 1));
        lines.add(|line| line.extend(b"three"));
        let taken = lines.take();
        assert_eq!((taken.bytes(), taken.count()), (b"one\nthree\n".as_slice(), 2));
        assert_eq!((lines.bytes(), lines.count()), (b"".as_slice(), 0));
    }
}
