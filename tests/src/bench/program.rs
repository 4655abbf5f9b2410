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
    /// The same for generic XDP, where frames have one buffer.
    XdpGeneric,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Ingress, Self::IngressBasic, Self::Egress, Self::Xdp, Self::XdpGeneric];
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
        !(self == Self::Ingress || self.is_at_xdp()) || *HAS_ACCEPT
    }

    /// Whether it sees frames before there is an skb.
    #[must_use]
    pub const fn is_at_xdp(self) -> bool {
        matches!(self, Self::Xdp | Self::XdpGeneric)
    }

    /// What it is called in the object.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "proxyip_ingress",
            Self::IngressBasic => "proxyip_ingress_basic",
            Self::Egress => "proxyip_egress",
            Self::Xdp => "proxyip_xdp",
            Self::XdpGeneric => "proxyip_xdp_generic",
        }
    }
}
