//! The secrets of the cookie.

use proxyip_common::cookie::{self, FlowHash, SECRETS as SECRET_SLOTS, Secret};

use crate::{
    frame::segment::Segment,
    kernel::{btf_maps::Array, clock::now, macros::btf_map},
    state::namespace::settings,
};

/// Secrets of the cookie by epoch.
#[btf_map]
pub static SECRETS: Array<Secret, { SECRET_SLOTS as usize }> = Array::new();

/// The flow's hash in the epoch of `cookie`, or in the current one.
#[inline(always)]
pub fn flow_hash(segment: &Segment, cookie: Option<u32>) -> Option<FlowHash> {
    let now = cookie::epoch(now(), settings()?.epoch_ns);
    let epoch = match cookie {
        Some(cookie) => cookie::epoch_of(cookie, now),
        None => now,
    };
    let secret = SECRETS.get((epoch % u64::from(cookie::SECRETS)) as u32)?;
    Some(FlowHash::new(*secret, epoch, &segment.peer, &segment.local))
}
