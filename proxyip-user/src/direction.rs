//! Which way packets go.

use proxyip_common::settings::front;

/// Which way the packets of an interface go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    /// The name as the pins use it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    pub(crate) fn from_label(label: &str) -> Option<Self> {
        [Self::Ingress, Self::Egress].into_iter().find(|direction| direction.label() == label)
    }

    /// The place of the program in the kernel programs' maps `PROGRAMS` and `PLACES`.
    pub(crate) const fn front(self) -> u32 {
        match self {
            Self::Ingress => front::INGRESS,
            Self::Egress => front::EGRESS,
        }
    }
}
