//! Connections that have ended and whose cookie may still count.

use proxyip_common::flow::{Ended, EndedFlow, FlowKey};

use crate::{
    frame::segment::Segment,
    kernel::{btf_maps::Array, macros::btf_map},
};

/// A power of two.
const PLACES: usize = 65_536;

/// The numbers of connections that have ended. Each has one place, which its flow's hash names, and takes it from the
/// connection that had it: the end of a connection writes to one line of memory, where a table that evicts its oldest
/// entries touches ten. Of a connection whose place was taken, a segment gets no RST in one case of 256. A first segment
/// that comes as late is taken for a new one.
#[btf_map]
pub static ENDED_FLOWS: Array<EndedFlow, PLACES> = Array::new();

/// The place of a flow with this hash.
#[inline(always)]
fn place(hash: u64) -> u32 {
    hash as u32 & (PLACES as u32 - 1)
}

/// Remembers that the connection has ended.
#[inline(always)]
pub fn remember(flow: &FlowKey, numbers: Ended) {
    let hash = flow.hash();
    if let Some(ended) = ENDED_FLOWS.get_ptr_mut(place(hash)) {
        // SAFETY: an element of the map. If another CPU writes to it too, what is left fits neither connection.
        unsafe { *ended = EndedFlow { hash, numbers } };
    }
}

/// Whether the segment is of a connection that has ended.
#[inline(always)]
pub fn has(flow: &FlowKey, segment: &Segment) -> bool {
    is(flow, |ended| ended.has(segment.sequence.0, segment.acknowledgment.0))
}

/// Whether the segment is the first one of a connection that has ended, come again.
#[inline(always)]
pub fn began_with(flow: &FlowKey, segment: &Segment) -> bool {
    let (isn, cookie) = (segment.sequence.syn().0, segment.acknowledgment.minus(1).0);
    is(flow, |ended| ended.began_with(isn, cookie))
}

#[inline(always)]
fn is(flow: &FlowKey, fits: impl FnOnce(&Ended) -> bool) -> bool {
    let hash = flow.hash();
    let ended = ENDED_FLOWS.get(place(hash));
    ended.is_some_and(|ended| ended.hash == hash && fits(&ended.numbers))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    /// Another flow that has the same place.
    fn rival(flow: &FlowKey) -> FlowKey {
        let others = (2..).map(|namespace| FlowKey { namespace, ..*flow });
        let mut rivals = others.filter(|other| place(other.hash()) == place(flow.hash()));
        rivals.next().expect("there are fewer places than namespaces")
    }

    #[test]
    fn the_latest_connection_has_the_place() {
        let ends = [([10, 0, 0, 2], 5000), ([10, 0, 1, 2], 443)].map(SocketAddr::from);
        let first = FlowKey::new(1, ends[0].into(), ends[1].into());
        let second = rival(&first);
        let numbers = Ended { isn: 1, cookie: 2, received: 3, sent: 4 };
        let (ends, never) = (|flow| is(flow, |ended| *ended == numbers), |flow| is(flow, |_| true));

        assert!(!never(&first));
        remember(&first, numbers);
        assert!(ends(&first));
        assert!(!never(&second), "the numbers are another flow's");

        remember(&second, numbers);
        assert!(ends(&second));
        assert!(!never(&first), "its place was taken");
    }
}
