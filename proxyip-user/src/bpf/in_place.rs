//! What was found, or done, where a program belongs.

/// What had to be done so that a program is where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// It was not attached, or was another agent's.
    Attached,
    /// Its pin was gone.
    Pinned,
    /// Its pin stood for something else.
    Exchanged,
}

/// A program that is where it belongs.
#[derive(Debug)]
pub(crate) struct InPlace {
    pub(crate) change: Change,
    /// The programs that run before it at an interface. What they let pass themselves it does not see.
    pub(crate) before: Vec<u32>,
}
