//! What a change has done, so that it can be undone.

use anyhow::Result;

use crate::steps::step;

/// The steps of a change to a `W`, each with how to undo it.
pub(super) struct Done<W>(Vec<Undo<W>>);

type Undo<W> = Box<dyn FnOnce(&mut W) -> Result<()>>;

impl<W> Done<W> {
    pub(super) fn nothing() -> Self {
        Self(Vec::new())
    }

    /// Notes a step that begins now, since it may fail half way.
    pub(super) fn begin(&mut self, undo: impl FnOnce(&mut W) -> Result<()> + 'static) {
        step();
        self.0.push(Box::new(undo));
    }

    /// Undoes the steps, the last one first, and goes on after one that cannot be undone.
    ///
    /// # Errors
    /// The first error: then some steps are still done.
    pub(super) fn undo(self, of: &mut W) -> Result<()> {
        let undone: Vec<_> = self.0.into_iter().rev().map(|undo| undo(of)).collect();
        undone.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;

    #[test]
    fn steps_are_undone_from_the_last_and_all_of_them() {
        let mut done = Done::nothing();
        for step in 1..=4 {
            done.begin(move |left: &mut Vec<i32>| {
                left.push(step);
                ensure!(step != 3, "no room for {step}");
                Ok(())
            });
        }
        let mut left = Vec::new();
        assert_eq!(done.undo(&mut left).unwrap_err().to_string(), "no room for 3");
        assert_eq!(left, [4, 3, 2, 1]);
        assert!(Done::nothing().undo(&mut left).is_ok());
    }
}
