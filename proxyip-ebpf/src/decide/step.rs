//! What a segment is found to be, before its payload is looked at.

use crate::{
    decide::split,
    decision::Decision,
    state::{handshakes::Handshake, parts::Begun},
};

/// What comes next.
pub enum Step {
    /// Nothing: this is the decision.
    Done(Decision),
    /// The segment begins its handshake's header.
    First(Handshake),
    /// The segment is of a handshake that has begun its header.
    Part(Handshake),
}

impl Step {
    /// A segment of a handshake that has begun this header, which may have been refused.
    #[inline(always)]
    pub fn part(handshake: Handshake, begun: Begun) -> Self {
        match split::on_refused(begun) {
            Some(decision) => Self::Done(decision),
            None => Self::Part(handshake),
        }
    }
}
