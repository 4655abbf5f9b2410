//! The programs on interfaces.

use std::sync::LazyLock;

use proxyip_user::bpf::object;

/// A program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Of Linux 6.9 and later.
    Ingress,
    /// Of earlier kernels: without the accept hand-off.
    IngressBasic,
    /// What sees what leaves.
    Egress,
    /// What sees frames before there is an skb.
    Xdp,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ingress, Self::IngressBasic, Self::Egress, Self::Xdp];
    /// Both that see what comes in.
    pub const INGRESS: [Self; 2] = [Self::Ingress, Self::IngressBasic];

    /// The one that the agent attaches on this kernel.
    #[must_use]
    pub fn best_ingress() -> Self {
        if Self::Ingress.is_possible() { Self::Ingress } else { Self::IngressBasic }
    }

    /// Whether this kernel can load it: the accept hand-off needs a function that came with Linux 6.9.
    pub fn is_possible(self) -> bool {
        static HAS_ACCEPT: LazyLock<bool> = LazyLock::new(|| object::assign().is_some());
        !matches!(self, Self::Ingress | Self::Xdp) || *HAS_ACCEPT
    }

    /// What it is called in the object.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "proxyip_ingress",
            Self::IngressBasic => "proxyip_ingress_basic",
            Self::Egress => "proxyip_egress",
            Self::Xdp => "proxyip_xdp",
        }
    }
}
