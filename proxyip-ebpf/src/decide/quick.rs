//! The quick way of frames that go on as they are. The bytes at hand and the socket tell that, and nothing is copied.
//!
//! A frame of which this cannot be told goes the long way, as any frame may.

use core::ptr::NonNull;

use proxyip_common::{
    flow::{FlowRecord, HandOff},
    settings::{HandOffChoice, ListenerSettings},
};

use crate::{
    frame::{
        early::{Early, Guard, V4, V6, Version, Way},
        ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6},
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

/// What the quick way tells of a frame that comes in.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Quick {
    /// Nothing.
    Unknown,
    /// It is for no guarded port.
    Foreign,
    /// The kernel has its connection, which needs nothing.
    Established,
    /// TCP would find a socket that needs more. [`Memory::found`] describes it.
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
    if !is_later || !packet.is_for_this_host() || !is_simple(listener) {
        return Quick::Unknown;
    }
    // SAFETY: so many bytes are at hand there.
    let socket = unsafe { Socket::find_ends(packet, tcp.ends as *mut _, V::ENDS_LENGTH as u32) };
    let Some(socket) = socket else { return Quick::Unknown };
    let state = socket.state();
    let passes = state == State::Connected
        && (!is_in_use() || socket.record().is_some_and(is_accepted))
        && !early.payload(packet, &tcp).is_some_and(begins_header);
    if passes {
        return Quick::Established;
    }
    let Some(memory) = memory() else { return Quick::Unknown };
    let mptcp = P::ACCEPT && state == State::Listening && socket.is_mptcp();
    memory.found.set(Found { mptcp, ..Found::new(state) });
    Quick::Found
}

/// Whether established connections to this listener need nothing, if they are not translated.
#[inline(always)]
fn is_simple(listener: u16) -> bool {
    const OBSERVE: u8 = HandOffChoice::Observe as u8;
    const TRANSLATE: u8 = HandOffChoice::Translate as u8;
    LISTENERS.get(listener.into()).is_some_and(|listener| {
        let is_other =
            listener.hand_off == OBSERVE || listener.hand_off == TRANSLATE && is_in_use();
        !is_other && !listener.has(ListenerSettings::MARKS)
    })
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

/// Whether a frame that leaves the host is of no connection that is translated, as far as this can be told quickly.
#[inline(never)]
pub fn leaves(ctx: &TcContext) -> bool {
    match ctx.protocol() {
        ETHERTYPE_IPV4 => leaves_at::<V4>(ctx),
        ETHERTYPE_IPV6 => leaves_at::<V6>(ctx),
        _ => false,
    }
}

#[inline(always)]
fn leaves_at<V: Version>(ctx: &TcContext) -> bool {
    let early = Early::<V>::new(ctx);
    match early.guard(Way::Out) {
        Guard::Nobody => return true,
        Guard::Unknown => return false,
        Guard::Listener(_) => {}
    }
    // A SYN-ACK tells of NAT.
    let is_later = early.tcp().is_some_and(|tcp| tcp.flags & flags::SYN == 0);
    is_later && record_of_sender(ctx).is_some_and(is_accepted)
}
