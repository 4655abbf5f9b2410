//! Many lookups in one system call: what the agent gives to a kernel program, and what comes back.
//!
//! Behind room for an Ethernet header there are slots of the size of a [`FlowKey`](crate::flow::FlowKey): keys on the way
//! in, [`Answer`]s in their places on the way out.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::address::{Client, Endpoint};

/// Slots at most: together they fit into the page that the kernel has for a test run's packet.
pub const SLOTS: usize = 32;
/// Where the first slot begins: the kernel takes what is before it for an Ethernet header, and does not look at it.
pub const OFFSET: usize = 14;

/// The answer to a key.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Answer {
    /// 1 if the flow is established, else 0; host order.
    pub found: u64,
    /// The flow's client.
    pub client: Client,
    /// Zero.
    pub reserved: [u32; 5],
}

impl Answer {
    /// The flow does not exist.
    pub const NONE: Self =
        Self { found: 0, client: Client(Endpoint::UNSPECIFIED), reserved: [0; 5] };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FlowKey;

    #[test]
    fn an_answer_fits_into_the_place_of_its_key() {
        assert_eq!(size_of::<Answer>(), size_of::<FlowKey>());
        assert_eq!(align_of::<Answer>(), align_of::<FlowKey>());
        assert_eq!(size_of::<Answer>(), 8 + size_of::<Client>() + 20, "no padding");
    }
}
