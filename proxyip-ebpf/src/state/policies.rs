//! Who may connect, by listener.

use proxyip_common::{
    address::Endpoint,
    policy::{self, PolicyWords, Rules},
    settings::{HandOffChoice, MAX_LISTENERS, ScopedAddress},
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

/// Who may connect, by listener. An element is replaced as a whole. What was replaced may be another listener's at once,
/// so each of its words says whose it is.
#[btf_map]
pub static POLICIES: HashMap<
    u32,
    PolicyWords,
    { MAX_LISTENERS as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

/// How often a policy is looked up that is replaced meanwhile.
const TRIES: u32 = 3;

/// The rules of a listener. New ones take their place in one step: whoever has some has all of them.
#[inline(never)]
pub fn rules_of(listener: u16) -> Option<Rules> {
    for _ in 0..TRIES {
        let policy = POLICIES.get_ptr(&u32::from(listener))?;
        // SAFETY: an element of the map; the word says whose it is.
        let word = unsafe { (&raw const (*policy).rules).read_volatile() };
        if let Some(rules) = Rules::read(word, listener) {
            return Some(rules);
        }
    }
    None
}

/// The mark of a listener's denied clients.
#[inline(always)]
pub fn mark_of(listener: u16) -> Option<u32> {
    for _ in 0..TRIES {
        let policy = POLICIES.get_ptr(&u32::from(listener))?;
        // SAFETY: an element of the map; the word says whose it is.
        let word = unsafe { (&raw const (*policy).mark).read_volatile() };
        if let Some(mark) = policy::mark(word, listener) {
            return Some(mark);
        }
    }
    None
}

/// Whether a source is trusted.
#[inline(never)]
pub fn trusts(rules: Rules, source: &Endpoint) -> bool {
    let source = ScopedAddress::new(rules.scope(), source);
    TRUSTED.get(&Key::new(ScopedAddress::BITS, source)).is_some_and(|trusted| *trusted != 0)
}

/// Whether the segment's source is trusted by its listener.
#[inline(never)]
pub fn trusted(segment: &Segment) -> bool {
    rules_of(segment.listener).is_some_and(|rules| trusts(rules, &segment.peer.0))
}

/// Whether the listener judges clients, so that a connection must not be established before its header has come.
#[inline(never)]
pub fn judges(segment: &Segment) -> bool {
    rules_of(segment.listener).is_some_and(Rules::judges)
}

/// Whether a connection of a trusted source may be left to the kernel, its header in place: its listener wants the accept
/// hand-off and no other, and judges no clients.
#[inline(never)]
pub fn may_leave(segment: &Segment) -> bool {
    choice(segment) == HandOffChoice::Accept as u8 && !judges(segment)
}
