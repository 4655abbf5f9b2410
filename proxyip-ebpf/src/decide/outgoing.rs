//! Segments that leave the host.

use proxyip_common::{
    flow::{FlowKey, Translation},
    header::LONGEST,
};

use crate::{
    frame::{
        early::{Early, Guard, V4, V6, Version, Way},
        ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6},
        segment::Segment,
        tcp::{Seq, flags},
    },
    kernel::{clock::now, packet::Packet, programs::TcContext},
    state::{
        handshakes::HANDSHAKES, memory::Egress, namespace::settings, nat, neighbours, parts,
        translations::TRANSLATIONS,
    },
};

/// By how much to raise; 0 if the connection is not translated.
#[inline(never)]
pub fn shift_of(segment: &Segment, scratch: &mut Egress) -> u32 {
    let namespace = settings().map_or(0, |settings| settings.cookie);
    scratch.key = FlowKey::new(namespace, segment.peer, segment.local);
    let Some(entry) = TRANSLATIONS.get_ptr_mut(&scratch.key) else { return 0 };
    // SAFETY: an element of the map; at worst it is another connection's by now, whose time is set.
    let entry = unsafe { &mut *entry };
    if entry.flags & Translation::SUPERSEDED != 0 && answers_handshake(segment, scratch) {
        return 0;
    }
    let shift = entry.ahead();
    match entry.state {
        Translation::ESTABLISHED => {}
        // The last word of a socket that was closed with it, or the answer to a header that came too late.
        Translation::CLOSED | Translation::OPENING if segment.has(flags::RST) => {
            let _ = TRANSLATIONS.remove(&scratch.key);
        }
        _ => entry.seen_ns = now(),
    }
    shift
}

/// Whether this SYN-ACK is the answer of another port or host than the SYN was for, which NAT has given it to.
#[inline(never)]
pub fn goes_elsewhere(ctx: &TcContext, segment: &Segment, scratch: &mut Egress) -> bool {
    let Some(settings) = settings() else { return false };
    if settings.nat_since_ns == 0 {
        return false;
    }
    scratch.key = FlowKey::new(settings.cookie, segment.peer, segment.local);
    nat::note(ctx, segment, scratch)
}

/// Notes to whom a SYN-ACK of a guarded port goes.
#[inline(never)]
pub fn note_neighbour(ctx: &TcContext) {
    match ctx.protocol() {
        ETHERTYPE_IPV4 => note_neighbour_of::<V4>(ctx),
        ETHERTYPE_IPV6 => note_neighbour_of::<V6>(ctx),
        _ => {}
    }
}

#[inline(always)]
fn note_neighbour_of<V: Version>(ctx: &TcContext) {
    const SYN_ACK: u8 = flags::SYN | flags::ACK;
    let early = Early::<V>::new(ctx);
    let Guard::Listener(_) = early.guard(Way::Out) else { return };
    if early.tcp().is_some_and(|tcp| tcp.flags & SYN_ACK == SYN_ACK)
        && let Some(address) = early.destination()
        && let Some(ethernet) = ctx.load_at(0)
    {
        neighbours::note(ctx.interface(), address, ethernet);
    }
}

/// Whether the segment acknowledges the SYN of the connection that replaces the one in `TIME_WAIT`.
#[inline(always)]
fn answers_handshake(segment: &Segment, scratch: &Egress) -> bool {
    // SAFETY: read at once; at worst it is another handshake's by now, whose number does not fit.
    let handshake = unsafe { HANDSHAKES.get(&scratch.key) };
    handshake.is_some_and(|handshake| {
        let length = segment.acknowledgment.ahead_of(Seq(handshake.isn).stream());
        // Or a part of its header.
        length == 0 || length < LONGEST as u32 && parts::has_begun(&scratch.key, Seq(handshake.isn))
    })
}
