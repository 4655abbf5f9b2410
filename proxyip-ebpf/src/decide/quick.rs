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
        parse::{has_vlan, is_for_this_interface},
        segment::{HELD_LISTENER, fill_incoming, outgoing},
        tcp::flags,
    },
    kernel::{packet::Packet, platform::Platform, programs::TcContext},
    state::{
        listeners::LISTENERS,
        memory::{egress, memory},
        namespace::settings,
        sockets::{Found, Sender, Socket, State},
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
    /// The kernel has its connection, which is translated. [`Memory::ahead`] says by how much to lower, and the segment for
    /// [`fill_incoming`] has the numbers.
    ///
    /// [`Memory::ahead`]: crate::state::memory::Memory::ahead
    Translated,
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
    if !is_later || !is_for_this_interface(packet) || listener == HELD_LISTENER {
        return Quick::Unknown;
    }
    let Some(memory) = memory() else { return Quick::Unknown };
    // SAFETY: so many bytes are at hand there.
    let socket = unsafe { Socket::find_ends(packet, tcp.ends as *mut _, V::ENDS_LENGTH as u32) };
    let Some(socket) = socket else {
        memory.found.set(Found::NOTHING);
        return Quick::Found;
    };
    let state = socket.state();
    let may_be_translated = state == State::Connected && is_in_use();
    let is_accepted = || socket.record().is_some_and(is_accepted);
    let known = !may_be_translated || !wants_translation(listener) && is_accepted();
    if !known && let Some(ahead) = ahead_of(&socket) {
        let Some(segment) = fill_incoming() else { return Quick::Unknown };
        Early::<V>::describe(&tcp, segment);
        memory.ahead.set(ahead);
        return Quick::Translated;
    }
    // The listener's settings are read behind the socket: it may have been marked under new ones.
    if !is_simple(listener) {
        return Quick::Unknown;
    }
    let passes = state == State::Connected
        && (known || wants_translation(listener) && is_accepted())
        && !early.payload(packet, &tcp).is_some_and(begins_header);
    if passes {
        return Quick::Established;
    }
    let mptcp = P::ACCEPT && state == State::Listening && socket.is_mptcp();
    memory.found.set(Found { mptcp, ..Found::new(state) });
    Quick::Found
}

/// How far the numbers of the socket's peer are ahead, if its connection is translated here.
#[inline(always)]
fn ahead_of(socket: &Socket) -> Option<u32> {
    socket.ahead(settings()?.cookie)
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

/// What is known early of a frame that leaves the host.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Outgoing {
    /// Nothing.
    Unknown,
    /// It is of no connection that is translated.
    Untranslated,
    /// It is of one. [`Egress::ahead`] says by how much to raise, and the segment for [`outgoing`] has the numbers.
    ///
    /// [`Egress::ahead`]: crate::state::memory::Egress::ahead
    Translated,
}

/// Looks at a frame that leaves the host.
#[inline(never)]
pub fn look_out(ctx: &TcContext) -> Outgoing {
    match ctx.protocol() {
        ETHERTYPE_IPV4 => look_out_at::<V4>(ctx),
        ETHERTYPE_IPV6 => look_out_at::<V6>(ctx),
        _ => Outgoing::Unknown,
    }
}

#[inline(always)]
fn look_out_at<V: Version>(ctx: &TcContext) -> Outgoing {
    let early = Early::<V>::new(ctx);
    let listener = match early.guard(Way::Out) {
        Guard::Nobody => return Outgoing::Untranslated,
        Guard::Unknown => return Outgoing::Unknown,
        Guard::Listener(listener) => listener,
    };
    let Some(tcp) = early.tcp() else { return Outgoing::Unknown };
    // A SYN-ACK may show that NAT has redirected its SYN.
    if tcp.flags & flags::SYN != 0 {
        return Outgoing::Unknown;
    }
    let Some(sender) = Sender::of(ctx) else { return Outgoing::Unknown };
    if !wants_translation(listener) && sender.record().is_some_and(is_accepted) {
        return Outgoing::Untranslated;
    }
    // With a RST, the connection's entry ends. A VLAN's frame is translated on the VLAN's own interface.
    if tcp.flags & (flags::RST | flags::ACK) != flags::ACK || has_vlan(ctx) {
        return Outgoing::Unknown;
    }
    let ahead = settings().and_then(|settings| sender.ahead(settings.cookie));
    let (Some(ahead), Some(segment), Some(scratch)) = (ahead, outgoing(), egress()) else {
        return Outgoing::Unknown;
    };
    Early::<V>::describe(&tcp, segment);
    scratch.ahead = ahead;
    Outgoing::Translated
}
