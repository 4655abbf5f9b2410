//! Headers that have begun and are not complete.
//!
//! Two tables, so that memory is bounded and nobody hangs: one keeps the bytes of a few headers, the other notes, for
//! many more, that a header has started. A connection whose bytes were evicted is reset.

use core::num::NonZeroU8;

use proxyip_common::{
    flow::FlowKey,
    header::{LONGEST, MAX_LENGTH},
    partial::{HeaderBytes, PartialHeader},
};

use crate::{
    frame::{segment::Segment, tcp::Seq},
    kernel::{
        bindings::BPF_ANY, btf_maps::LruHashMap, clock::now, macros::btf_map, verified::Code,
    },
    state::{
        flows::set_flow,
        handshakes::{ACCEPT, Handshake},
        in_use::{self, is_used, set_used},
        listeners::LISTENERS,
        memory::{Memory, memory},
    },
};

/// Headers that have begun and are not complete. Under a flood of them old ones are evicted, not in their exact
/// order: a CPU keeps what it has inserted last. The sizes of these two are the least; the agent makes them larger on
/// hosts with many CPUs.
#[btf_map]
pub static PARTIAL_HEADERS: LruHashMap<FlowKey, PartialHeader, 16_384> = LruHashMap::new();

/// The bytes of the latest of them.
#[btf_map]
pub static HEADER_BYTES: LruHashMap<FlowKey, HeaderBytes, 1024> = LruHashMap::new();

/// Words of a header.
const WORDS: usize = MAX_LENGTH / 8;

/// What is noted of a header that has begun. As small as a register, in which it travels. What is not zero comes first: it
/// says too whether anything is noted, and BTF has that only at the beginning.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Begun {
    hand_off: NonZeroU8,
    state: u8,
    /// Initial sequence number of its handshake, still to be compared with the segment's.
    pub isn: Seq,
}

impl Begun {
    /// The [`HandOff`](proxyip_common::flow::HandOff) of its connection, as its value.
    #[inline(always)]
    pub fn hand_off(self) -> u8 {
        self.hand_off.get()
    }

    /// Its connection has been reset.
    #[inline(always)]
    pub fn is_reset(self) -> bool {
        self.state == PartialHeader::REFUSED
    }

    /// Its connection is dropped.
    #[inline(always)]
    pub fn is_dropped(self) -> bool {
        self.state == PartialHeader::DROPPED
    }

    /// Whether this sequence number lies within the header.
    #[inline(always)]
    pub fn holds(self, sequence: Seq) -> bool {
        sequence.ahead_of(self.isn.stream()) < LONGEST as u32
    }

    /// Whether it is of this handshake.
    #[inline(always)]
    pub fn is_of(self, handshake: &Handshake) -> bool {
        self.isn == handshake.isn && self.hand_off() == handshake.hand_off
    }
}

/// The header that the flow has begun. Leaves the flow in `memory.event`.
#[inline(never)]
pub fn look_up(segment: &Segment, memory: &Memory) -> Option<Begun> {
    if !is_used(in_use::SPLIT) {
        return None;
    }
    set_flow(segment, memory);
    let header = PARTIAL_HEADERS.get_ptr(memory.key())?;
    // SAFETY: an element of the map; at worst it is another flow's by now, whose number does not fit.
    let (isn, hand_off, state) = unsafe { ((*header).isn, (*header).hand_off, (*header).state) };
    Some(Begun { hand_off: NonZeroU8::new(hand_off)?, state, isn: Seq(isn) })
}

/// Whether the handshake with this initial sequence number has begun a header.
#[inline(always)]
pub fn has_begun(flow: &FlowKey, isn: Seq) -> bool {
    if !is_used(in_use::SPLIT) {
        return false;
    }
    // SAFETY: an element of the map; at worst it is another flow's by now, whose number does not fit.
    PARTIAL_HEADERS.get_ptr(flow).is_some_and(|header| unsafe { (*header).isn } == isn.0)
}

/// Notes that the flow's header is complete. Its bytes stay for the while: if the stack does not take the connection,
/// the peer sends the last segment again.
#[inline(always)]
pub fn complete(memory: &Memory) {
    if !is_used(in_use::SPLIT) {
        return;
    }
    if let Some(header) = PARTIAL_HEADERS.get_ptr_mut(memory.key()) {
        // SAFETY: an element of the map; at worst it is another flow's by now, which the agent then does not reset.
        unsafe { (*header).state = PartialHeader::COMPLETE };
    }
}

/// Notes in [`PartialHeader`] that the connection is reset or dropped. The peer does not resend what was
/// acknowledged. If the RST is lost, the peer is told once more.
#[inline(always)]
pub fn end(memory: &Memory, state: u8) {
    if !is_used(in_use::SPLIT) {
        return;
    }
    if let Some(header) = PARTIAL_HEADERS.get_ptr_mut(memory.key()) {
        // SAFETY: an element of the map; at worst it is another flow's by now, which is reset when it goes on.
        unsafe {
            if (*header).isn == memory.handshake.get().isn.0 {
                (*header).state = state;
            }
        }
    }
    let _ = HEADER_BYTES.remove(memory.key());
}

/// Forgets the header of a connection that the kernel had, and has nothing left of. Under accept the kernel has nothing of it
/// before the header is complete, and this SYN may be forged.
#[inline(never)]
pub fn remove_ended(segment: &Segment, memory: &Memory) {
    if look_up(segment, memory).is_some_and(|begun| begun.hand_off() != ACCEPT) {
        remove(memory.key());
    }
}

/// Forgets the flow's header if it is not of the handshake that this SYN begins.
#[inline(never)]
pub fn remove_older(segment: &Segment, memory: &Memory) {
    if look_up(segment, memory).is_some_and(|begun| begun.isn != segment.sequence) {
        remove(memory.key());
    }
}

/// Forgets the flow's header.
#[inline(always)]
pub fn remove(flow: &FlowKey) {
    if is_used(in_use::SPLIT) {
        let _ = PARTIAL_HEADERS.remove(flow);
        let _ = HEADER_BYTES.remove(flow);
    }
}

/// Whether the header of this handshake began too long ago, and is not complete yet.
#[inline(never)]
pub fn is_late(segment: &Segment, memory: &Memory) -> bool {
    let Some(since_ns) = since(memory) else { return false };
    LISTENERS
        .get(segment.listener.into())
        .is_none_or(|listener| now().wrapping_sub(since_ns) > listener.header_timeout_ns)
}

/// When the header of this handshake began; for one that has been complete, now.
#[inline(always)]
pub fn since(memory: &Memory) -> Option<u64> {
    let header = PARTIAL_HEADERS.get_ptr(memory.key())?;
    // SAFETY: an element of the map; at worst it is another flow's by now, whose number does not fit.
    let (isn, since_ns, state) = unsafe { ((*header).isn, (*header).since_ns, (*header).state) };
    if isn != memory.handshake.get().isn.0 {
        return None;
    }
    Some(if state == PartialHeader::COMPLETE { now() } else { since_ns })
}

/// Remembers that the header has begun; false if that failed.
#[inline(always)]
pub fn note_begun(segment: &Segment, memory: &Memory) -> bool {
    set_used(in_use::SPLIT);
    let handshake = memory.handshake.get();
    let header = PartialHeader {
        since_ns: now(),
        isn: handshake.isn.0,
        expected: segment.acknowledgment.0,
        listener: segment.listener,
        hand_off: handshake.hand_off,
        state: PartialHeader::OPEN,
        reserved: [0; 4],
    };
    PARTIAL_HEADERS.insert(memory.key(), &header, BPF_ANY.into()).is_ok()
}

/// How many bytes of this handshake's header the peer was told to have arrived.
#[inline(always)]
pub fn acknowledged(memory: &Memory) -> u32 {
    let Some(kept) = HEADER_BYTES.get_ptr(memory.key()) else { return 0 };
    // SAFETY: an element of the map; at worst it is another flow's by now, whose number does not fit.
    let (isn, acknowledged) = unsafe { ((*kept).isn, (*kept).acknowledged) };
    if isn == memory.handshake.get().isn.0 { acknowledged } else { 0 }
}

/// Notes that all bytes of this handshake's header are acknowledged.
#[inline(always)]
pub fn note_acknowledged(memory: &Memory) {
    let Some(kept) = HEADER_BYTES.get_ptr_mut(memory.key()) else { return };
    // SAFETY: an element of the map; at worst it is another flow's by now, whose number does not fit.
    unsafe {
        if (*kept).isn == memory.handshake.get().isn.0 {
            (*kept).acknowledged = (*kept).length;
        }
    }
}

/// How many bytes of this handshake's header have come.
#[inline(always)]
pub fn stored(memory: &Memory) -> u32 {
    let Some(kept) = HEADER_BYTES.get_ptr(memory.key()) else { return 0 };
    // SAFETY: an element of the map; at worst it is another flow's by now, whose number does not fit.
    let (isn, length) = unsafe { ((*kept).isn, (*kept).length) };
    if isn == memory.handshake.get().isn.0 { length } else { 0 }
}

// Exported, like the steps of the grammar: the verifier walks them once.

/// Copies the bytes kept of the flow that is in the memory to where the header is read.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn recall_bytes() -> Code {
    let Some(memory) = memory() else { return 0 };
    memory.header.kept.set(0);
    let Some(kept) = HEADER_BYTES.get_ptr(memory.key()) else { return 0 };
    // SAFETY: an element of the map. It may become another flow's while it is read; then its owner changes first.
    let (isn, length) = unsafe { ((*kept).isn, (*kept).length as usize) };
    if isn != memory.handshake.get().isn.0 {
        return 0;
    }
    for word in 0..WORDS {
        if word * 8 >= length {
            break;
        }
        // SAFETY: both arrays have as many words, and are aligned.
        unsafe {
            let from = (&raw const (*kept).words).cast::<u64>().add(word);
            memory.header.bytes.words().add(word).write(from.read_volatile());
        }
    }
    // SAFETY: as above.
    let (acknowledged, long) = unsafe { ((*kept).acknowledged, (*kept).long) };
    // SAFETY: as above.
    let (owner, still) = unsafe { ((&raw const (*kept).owner).read_volatile(), (*kept).isn) };
    if owner == *memory.key() && still == isn {
        memory.header.kept.set(length);
        memory.header.acknowledged.set(acknowledged);
        // SAFETY: nobody has a reference to it.
        unsafe { *memory.header.long.as_ptr() = long };
    }
    0
}

/// Keeps what is loaded of the header of the flow that is in the memory; 0 if that worked.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn keep_bytes() -> Code {
    let Some(memory) = memory() else { return -1 };
    // SAFETY: nobody else has a reference to the place.
    let bytes = unsafe { memory.bytes.get_mut() };
    bytes.owner = *memory.key();
    bytes.isn = memory.handshake.get().isn.0;
    bytes.length = memory.header.loaded.get() as u32;
    bytes.acknowledged = memory.header.acknowledged.get();
    // SAFETY: nobody writes to it.
    bytes.long = unsafe { *memory.header.long.get() };
    for word in 0..WORDS {
        if word * 8 >= memory.header.loaded.get() {
            break;
        }
        // SAFETY: both arrays have as many words, and are aligned.
        unsafe {
            let to = (&raw mut bytes.words).cast::<u64>().add(word);
            to.write(memory.header.bytes.words().add(word).read());
        }
    }
    match HEADER_BYTES.insert(memory.key(), bytes, BPF_ANY.into()) {
        Ok(()) => 0,
        Err(_) => -1,
    }
}
