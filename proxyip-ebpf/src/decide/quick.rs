//! The quick way of frames that go on as they are: the bytes at hand and the socket show that, and nothing is copied.
//!
//! Any other frame goes the long way. Every frame may.

use core::ptr::NonNull;

use proxyip_common::{
    flow::{FlowRecord, HandOff},
    settings::{HandOffChoice, ListenerSettings, MAX_LISTENERS},
};

use crate::{
    frame::{
        early::{Early, Guard, V4, V6, Version, Way},
        ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6},
        parse::is_for_this_interface,
        segment::HELD_LISTENER,
        tcp::flags,
    },
    kernel::{packet::Packet, platform::Platform, programs::TcContext},
    state::{
        listeners::LISTENERS,
        memory::memory,
        sockets::{Found, Socket, State, record_of_sender},
        translations::is_in_use,
    },
};

/// What is known early of a frame that comes in.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Quick {
    /// Nothing.
    Unknown,
    /// It is for no guarded port.
    Foreign,
    /// The kernel has its connection, which needs nothing.
    Established,
    /// More must be known of its connection. [`Memory::found`] has what TCP would find.
    ///
    /// [`Memory::found`]: crate::state::memory::Memory::found
    Found,
}

/// Looks at a frame that comes in.
///
/// Not inlined: what is asked here leaves the stack before the long way.
#[inline(never)]
pub fn look<P: Platform>(packet: &impl Packet) -> Quick {
    match packet.protocol() {
        ETHERTYPE_IPV4 => look_at::<P, V4>(packet),
        ETHERTYPE_IPV6 => look_at::<P, V6>(packet),
        _ => Quick::Unknown,
    }
}

#[inline(always)]
fn look_at<P: Platform, V: Version>(packet: &impl Packet) -> Quick {
    let early = Early::<V>::new(packet);
    let listener = match early.guard(Way::In) {
        Guard::Nobody => return Quick::Foreign,
        Guard::Unknown => return Quick::Unknown,
        Guard::Listener(listener) => listener,
    };
    let Some(tcp) = early.tcp() else { return Quick::Unknown };
    let is_later = tcp.flags & (flags::SYN | flags::RST | flags::ACK) == flags::ACK;
    if !is_later || !is_for_this_interface(packet) || is_mostly_translated::<P>(listener) {
        return Quick::Unknown;
    }
    let Some(memory) = memory() else { return Quick::Unknown };
    // SAFETY: so many bytes are at hand there.
    let socket = unsafe { Socket::find_ends(packet, tcp.ends as *mut _, V::ENDS_LENGTH as u32) };
    let Some(socket) = socket else {
        memory.found.set(Found::NOTHING);
        return Quick::Found;
    };
    // The listener's settings are read behind the socket: it may have been marked under new ones.
    if !is_simple(listener) {
        return Quick::Unknown;
    }
    let state = socket.state();
    let passes = state == State::Connected
        && (!is_in_use() || socket.record().is_some_and(is_accepted))
        && !early.payload(packet, &tcp).is_some_and(begins_header);
    if passes {
        return Quick::Established;
    }
    let mptcp = P::ACCEPT && state == State::Listening && socket.is_mptcp();
    memory.found.set(Found { mptcp, ..Found::new(state) });
    Quick::Found
}

/// Whether the table of translated connections says more of a segment than its socket does.
#[inline(always)]
fn is_mostly_translated<P: Platform>(listener: u16) -> bool {
    is_in_use() && (!P::ACCEPT || wants_translation(listener))
}

/// Whether the listener's connections are all to be translated.
#[inline(always)]
fn wants_translation(listener: u16) -> bool {
    const TRANSLATE: u8 = HandOffChoice::Translate as u8;
    LISTENERS.get(listener.into()).is_some_and(|listener| listener.hand_off == TRANSLATE)
}

/// Whether established connections to this listener need nothing, if they are not translated. A port that is held or
/// retired has no settings.
#[inline(always)]
fn is_simple(listener: u16) -> bool {
    const OBSERVE: u8 = HandOffChoice::Observe as u8;
    const { assert!(MAX_LISTENERS <= HELD_LISTENER as u32) };
    let settings = LISTENERS.get(listener.into());
    settings.is_some_and(|it| it.hand_off != OBSERVE && !it.has(ListenerSettings::MARKS))
}

/// Whether the socket's connection was handed over by accept.
#[inline(always)]
fn is_accepted(record: NonNull<FlowRecord>) -> bool {
    // SAFETY: the socket is held. A program on another CPU may be filling the record: then this is the old value or the
    // new one, and an accepted connection's record is whole from the beginning.
    unsafe { record.as_ref() }.hand_off == HandOff::Accept as u8
}

/// Whether a payload that begins so may be a PROXY header, which has to be noticed.
#[inline(always)]
fn begins_header(payload: [u8; 4]) -> bool {
    payload == *b"PROX" || payload == *b"\r\n\r\n"
}

/// Whether it is known early that a frame which leaves the host is of no connection that is translated.
#[inline(never)]
pub fn needs_no_translation(ctx: &TcContext) -> bool {
    match ctx.protocol() {
        ETHERTYPE_IPV4 => is_of_no_translation::<V4>(ctx),
        ETHERTYPE_IPV6 => is_of_no_translation::<V6>(ctx),
        _ => false,
    }
}

#[inline(always)]
fn is_of_no_translation<V: Version>(ctx: &TcContext) -> bool {
    let early = Early::<V>::new(ctx);
    match early.guard(Way::Out) {
        Guard::Nobody => return true,
        Guard::Unknown => return false,
        Guard::Listener(listener) if wants_translation(listener) => return false,
        Guard::Listener(_) => {}
    }
    // A SYN-ACK may show that NAT has redirected its SYN.
    let is_later = early.tcp().is_some_and(|tcp| tcp.flags & flags::SYN == 0);
    is_later && record_of_sender(ctx).is_some_and(is_accepted)
}
