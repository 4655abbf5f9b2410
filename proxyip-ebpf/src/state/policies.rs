//! Who may connect, by listener.

use proxyip_common::{
    address::Endpoint,
    settings::{HandOffChoice, MAX_LISTENERS, Policy, ScopedAddress},
};

use crate::{
    frame::segment::Segment,
    kernel::{
        bindings::BPF_F_NO_PREALLOC,
        btf_maps::{HashMap, lpm_trie::Key},
        macros::btf_map,
    },
    state::{listeners::choice, networks::TRUSTED},
};

/// Who may connect, by listener. An element is replaced as a whole, and freed when nobody can have it.
#[btf_map]
pub static POLICIES: HashMap<
    u32,
    Policy,
    { MAX_LISTENERS as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

/// The policy of a listener. A new one takes its place in one step: whoever has one has all of it.
#[inline(always)]
pub fn policy_of(listener: u16) -> Option<&'static Policy> {
    let policy = POLICIES.get_ptr(&u32::from(listener))?;
    // SAFETY: the agent replaces elements and never changes them; the kernel frees one that was replaced when no
    // program can have it any more.
    Some(unsafe { &*policy })
}

/// Whether a source is trusted.
#[inline(never)]
pub fn trusts(policy: &Policy, source: &Endpoint) -> bool {
    let source = ScopedAddress::new(policy.scope, source);
    TRUSTED.get(&Key::new(ScopedAddress::BITS, source)).is_some_and(|trusted| *trusted != 0)
}

/// Whether the segment's source is trusted by its listener.
#[inline(never)]
pub fn trusted(segment: &Segment) -> bool {
    policy_of(segment.listener).is_some_and(|policy| trusts(policy, &segment.peer.0))
}

/// Whether the listener judges clients, so that a connection must not be established before its header has come.
#[inline(never)]
pub fn judges(segment: &Segment) -> bool {
    policy_of(segment.listener).is_some_and(|policy| policy.judges != 0)
}

/// Whether a connection of a trusted source may be left to the kernel, its header in place: its listener wants the accept
/// hand-off and no other, and judges no clients.
#[inline(never)]
pub fn may_leave(segment: &Segment) -> bool {
    choice(segment) == HandOffChoice::Accept as u8 && !judges(segment)
}
