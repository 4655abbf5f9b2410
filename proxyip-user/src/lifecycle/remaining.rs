//! Which programs of an agent before this one remain where they are.

/// How many programs of an agent before this one are still there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// They may be wanted: their namespaces cannot be seen or served now.
    pub(super) kept: usize,
    /// They could not be detached.
    pub(super) stuck: usize,
}

impl Others {
    pub(super) const fn are_there(self) -> bool {
        self.kept + self.stuck > 0
    }
}

/// Whose namespace a program is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At no interface.
    Host,
    /// The agent's own.
    Own,
    /// One that is served, whose interfaces the agent could see or not.
    Served { is_known: bool },
    /// One that is not. The program is attached there or not.
    Unseen { is_attached: bool },
}

impl Place {
    /// Whether a program may be wanted there. An agent may be blind for namespaces that it should serve.
    pub(super) const fn keeps(self, is_blind: bool) -> bool {
        match self {
            Self::Host | Self::Own => false,
            Self::Served { is_known } => !is_known,
            Self::Unseen { is_attached } => is_blind && is_attached,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_wanted_is_kept() {
        for (place, seeing, blind) in [
            (Place::Host, false, false),
            (Place::Own, false, false),
            (Place::Served { is_known: true }, false, false),
            (Place::Served { is_known: false }, true, true),
            (Place::Unseen { is_attached: true }, false, true),
            (Place::Unseen { is_attached: false }, false, false),
        ] {
            assert_eq!([false, true].map(|is| place.keeps(is)), [seeing, blind], "{place:?}");
        }
    }
}
