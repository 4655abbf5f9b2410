//! Which way packets go.

use aya::programs::TcAttachType;
use aya_obj::generated::bpf_attach_type::{self, BPF_TCX_EGRESS, BPF_TCX_INGRESS};
use proxyip_common::settings::front;

/// Which way the packets of an interface go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// For links.
    pub(crate) const fn tcx(self) -> bpf_attach_type {
        match self {
            Self::Ingress => BPF_TCX_INGRESS,
            Self::Egress => BPF_TCX_EGRESS,
        }
    }

    /// For filters.
    pub(crate) const fn attach_type(self) -> TcAttachType {
        match self {
            Self::Ingress => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
        }
    }
}
