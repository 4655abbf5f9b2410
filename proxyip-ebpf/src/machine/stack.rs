//! A small TCP: it decides what happens to segments that the programs pass. It takes bytes in order only, sends no
//! data, and knows nothing of time.

use core::mem::MaybeUninit;

use proxyip_common::address::Endpoint;

use crate::hooks::sockops;
use crate::host::{
    bindings::{
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_TCP_CLOSE, bpf_sock_ops,
    },
    frame::{Checksum, Frame},
    programs::SockOpsContext,
    sockets::{Kind, Request, Socket, ends},
    state,
    wire::{Segment, flags},
};

/// What the stack does about a segment.
enum Answer {
    Nothing,
    Segment(u32, u32, u8, Vec<u8>),
    Established,
    Closed,
}

/// Receives a frame that the ingress program has passed.
pub(super) fn receive(frame: &Frame) {
    let checked = matches!(frame.checksum(), Checksum::None | Checksum::Complete);
    let Some(mut segment) = Segment::read(frame.bytes(), checked) else { return };
    let guarded = segment.destination;
    segment.destination = redirect(guarded);
    let (peer, local) = (segment.source, segment.destination);
    loop {
        let answer = state::with(|state| {
            let kind = state.sockets.find(peer, local).map(|socket| socket.kind());
            match kind {
                None => Answer::Nothing,
                Some(Kind::Listening | Kind::ListeningMptcp | Kind::TimeWait) => {
                    open(state, &segment, frame.request)
                }
                Some(Kind::Request) => establish(state, &segment),
                Some(Kind::Connected) => take(state, &segment),
            }
        });
        match answer {
            Answer::Nothing => return,
            Answer::Segment(sequence, acknowledgment, flags, options) => {
                let mut segment = Segment::bare(guarded, peer, sequence, acknowledgment, flags);
                segment.options = options;
                let mut frame = segment.frame();
                // To where frames come from.
                frame[..12].rotate_left(6);
                let at_hand = state::with(|state| state.at_hand);
                let frame = Frame::new(frame, at_hand, Checksum::Partial);
                let socket = state::with(|state| state.sockets.hold(peer, local));
                return state::transmit(frame.from_socket(socket));
            }
            // Its payload is taken now.
            Answer::Established => tell(peer, local, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, [0; 4]),
            Answer::Closed => return close(peer, local),
        }
    }
}

/// Where NAT gives a segment for this end.
fn redirect(local: Endpoint) -> Endpoint {
    match state::with(|state| state.redirected) {
        Some((from, to)) if local.port() == from => match local.v4() {
            Some(address) => Endpoint::from_v4(address, to.to_be_bytes()),
            None => Endpoint::from_v6(local.address(), to.to_be_bytes()),
        },
        _ => local,
    }
}

/// Ends a connection.
pub(super) fn close(peer: Endpoint, local: Endpoint) {
    tell(peer, local, BPF_SOCK_OPS_STATE_CB, [1, BPF_TCP_CLOSE, 0, 0]);
    state::with(|state| state.sockets.flows.remove(&ends(peer, local)));
}

/// A segment for a socket that has no connection.
fn open(state: &mut state::State, segment: &Segment, request: Option<Request>) -> Answer {
    let ends = ends(segment.source, segment.destination);
    if !state.sockets.listening.contains_key(&segment.destination.port()) {
        return Answer::Nothing;
    }
    let kind = segment.flags & (flags::SYN | flags::ACK | flags::RST);
    if kind == flags::SYN {
        let mut socket = Socket::new(Kind::Request);
        socket.set_port(segment.destination.port());
        socket.isn = segment.sequence;
        socket.iss = segment.sequence.wrapping_mul(0x9e37_79b1);
        let answer = syn_ack(&socket);
        state.sockets.flows.insert(ends, socket);
        return answer;
    }
    if kind != flags::ACK {
        return Answer::Nothing;
    }
    let Some(request) = request else {
        return Answer::Segment(segment.acknowledgment, 0, flags::RST, vec![]);
    };
    if state.accept_queue_full {
        return Answer::Nothing;
    }
    let mut socket = Socket::new(Kind::Connected);
    socket.set_next(segment.sequence);
    socket.iss = segment.acknowledgment.wrapping_sub(1);
    socket.isn = segment.sequence.wrapping_sub(1);
    socket.ecn = request.ecn;
    state.sockets.flows.insert(ends, socket);
    Answer::Established
}

fn syn_ack(socket: &Socket) -> Answer {
    Answer::Segment(
        socket.iss,
        socket.isn.wrapping_add(1),
        flags::SYN | flags::ACK,
        vec![2, 4, 5, 180],
    )
}

/// A segment for a request socket (`tcp_check_req()`).
fn establish(state: &mut state::State, segment: &Segment) -> Answer {
    const WINDOW: u32 = 65_535;
    let ends = ends(segment.source, segment.destination);
    let Some(socket) = state.sockets.flows.get_mut(&ends) else { return Answer::Nothing };
    let first = socket.isn.wrapping_add(1);
    let syn = u32::from(segment.flags & flags::SYN != 0);
    if syn != 0 && segment.sequence == socket.isn && segment.flags & flags::ACK == 0 {
        return syn_ack(socket);
    }
    let ahead = segment.sequence.wrapping_sub(first).cast_signed();
    let end = ahead.wrapping_add_unsigned(segment.payload.len() as u32 + syn);
    let in_window = ahead == 0 || end > 0 && ahead < WINDOW.cast_signed();
    if segment.flags & flags::RST != 0 {
        if in_window {
            state.sockets.flows.remove(&ends);
        }
        return Answer::Nothing;
    }
    if !in_window {
        return Answer::Segment(socket.iss.wrapping_add(1), first, flags::ACK, vec![]);
    }
    if syn != 0 {
        state.sockets.flows.remove(&ends);
        let next = segment.sequence.wrapping_add(1);
        return Answer::Segment(0, next, flags::RST | flags::ACK, vec![]);
    }
    if segment.flags & flags::ACK == 0 || segment.acknowledgment != socket.iss.wrapping_add(1) {
        return Answer::Nothing;
    }
    if state.accept_queue_full {
        return Answer::Nothing;
    }
    let mut connected = Socket::new(Kind::Connected);
    (connected.isn, connected.iss) = (socket.isn, socket.iss);
    connected.set_next(first);
    state.sockets.flows.insert(ends, connected);
    Answer::Established
}

/// A segment for a connection.
fn take(state: &mut state::State, segment: &Segment) -> Answer {
    let ends = ends(segment.source, segment.destination);
    let Some(socket) = state.sockets.flows.get_mut(&ends) else { return Answer::Nothing };
    let next = socket.next();
    if segment.flags & flags::RST != 0 {
        return if segment.sequence == next { Answer::Closed } else { Answer::Nothing };
    }
    if segment.flags & flags::SYN != 0 {
        // A challenge (RFC 5961 §4).
        let sequence = socket.iss.wrapping_add(1).wrapping_add(socket.sent);
        return Answer::Segment(sequence, next, flags::ACK, vec![]);
    }
    if segment.payload.is_empty() || segment.flags & flags::ACK == 0 {
        return Answer::Nothing;
    }
    let old = next.wrapping_sub(segment.sequence);
    let mut options = vec![];
    if let Some(new) = segment.payload.get(old as usize..) {
        socket.received.extend(new);
        socket.set_next(next.wrapping_add(new.len() as u32));
    }
    if old != 0 {
        // What came twice (RFC 2883), or ahead.
        let end = segment.sequence.wrapping_add(segment.payload.len() as u32);
        options = vec![1, 1, 5, 10];
        options.extend(segment.sequence.to_be_bytes());
        options.extend(end.to_be_bytes());
    }
    Answer::Segment(socket.iss.wrapping_add(1), socket.next(), flags::ACK, options)
}

/// Runs the program for sockets' events.
fn tell(peer: Endpoint, local: Endpoint, event: u32, arguments: [u32; 4]) {
    // SAFETY: numbers and unions of numbers and pointers, for which zero is a value.
    let mut ops: bpf_sock_ops = unsafe { MaybeUninit::zeroed().assume_init() };
    ops.op = event;
    ops.__bindgen_anon_1.args = arguments;
    ops.remote_port = u32::from(u16::from_ne_bytes(peer.port_bytes())) << 16;
    ops.local_port = local.port().into();
    if let (Some(remote), Some(own)) = (peer.v4(), local.v4()) {
        ops.family = 2;
        (ops.remote_ip4, ops.local_ip4) = (u32::from_ne_bytes(remote), u32::from_ne_bytes(own));
    } else {
        ops.family = 10;
        (ops.remote_ip6, ops.local_ip6) = (peer.words(), local.words());
    }
    ops.__bindgen_anon_2.sk = state::with(|state| {
        let Some(socket) = state.sockets.flows.get_mut(&ends(peer, local)) else {
            return core::ptr::null_mut();
        };
        let first = socket.iss.wrapping_add(1);
        (ops.rcv_nxt, ops.bytes_received) = (socket.next(), socket.received.len() as u64);
        (ops.snd_una, ops.snd_nxt) = (first, first.wrapping_add(socket.sent));
        socket.as_sock()
    });
    sockops::run(&SockOpsContext::new(&mut ops));
}
