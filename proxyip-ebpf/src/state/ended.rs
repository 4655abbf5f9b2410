//! Connections that have ended and whose cookie may still count.

use proxyip_common::flow::{Ended, EndedFlow, EndedPair, FlowKey};

use crate::{
    frame::segment::Segment,
    kernel::{btf_maps::Array, macros::btf_map},
};

/// A power of two.
const PLACES: usize = 32_768;

/// The numbers of connections that have ended. A flow's hash names its place, which has room for two: the end of a connection
/// writes to one line of memory or two, where a table that evicts its oldest entries touches ten. If two others have
/// taken the place since, one late segment in 256 gets no RST, and a late first segment opens a new connection.
#[btf_map]
pub static ENDED_FLOWS: Array<EndedPair, PLACES> = Array::new();

/// The place of a flow with this hash.
#[inline(always)]
fn place(hash: u64) -> u32 {
    hash as u32 & (PLACES as u32 - 1)
}

/// Remembers that the connection has ended.
#[inline(always)]
pub fn remember(flow: &FlowKey, numbers: Ended) {
    let hash = flow.hash();
    if let Some(pair) = ENDED_FLOWS.get_ptr_mut(place(hash)) {
        // SAFETY: an element of the map. If another CPU writes to it too, what is left fits neither connection.
        unsafe {
            (*pair).before = (*pair).last;
            (*pair).last = EndedFlow { hash, numbers };
        }
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
fn is(flow: &FlowKey, fits: impl Fn(&Ended) -> bool) -> bool {
    let hash = flow.hash();
    let fits = |ended: &EndedFlow| ended.hash == hash && fits(&ended.numbers);
    ENDED_FLOWS.get(place(hash)).is_some_and(|pair| fits(&pair.last) || fits(&pair.before))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    /// Others flows that have the same place.
    fn rivals(flow: &FlowKey) -> impl Iterator<Item = FlowKey> {
        let others = (2..).map(|namespace| FlowKey { namespace, ..*flow });
        others.filter(|other| place(other.hash()) == place(flow.hash()))
    }

    #[test]
    fn the_last_two_connections_have_the_place() {
        let ends = [([10, 0, 0, 2], 5000), ([10, 0, 1, 2], 443)].map(SocketAddr::from);
        let first = FlowKey::new(1, ends[0].into(), ends[1].into());
        let [second, third] = rivals(&first).take(2).collect::<Vec<_>>()[..] else { panic!() };
        let numbers = Ended { isn: 1, cookie: 2, received: 3, sent: 4 };
        let (ends, never) = (|flow| is(flow, |ended| *ended == numbers), |flow| is(flow, |_| true));

        assert!(!never(&first));
        remember(&first, numbers);
        assert!(ends(&first));
        assert!(!never(&second), "the numbers are another flow's");

        remember(&second, numbers);
        assert!(ends(&second) && ends(&first), "there is room for two");
        remember(&third, numbers);
        assert!(ends(&third) && ends(&second));
        assert!(!never(&first), "its place was taken");
    }
}
