//! Follows connections that were handed over, until they are established and closed.

mod end;

use proxyip_common::{
    address::{Endpoint, Local, Peer},
    counter::{Counter, per_listener},
    event::EventKind,
    flow::{FlowKey, FlowRecord, HandOff, TranslatedSocket, Translation},
    settings::HandOffChoice,
};

use self::end::{TCP_FIN_WAIT2, TCP_LAST_ACK};
use crate::{
    decide::found::awaits_header,
    frame::ports::PORTS,
    kernel::{
        AF_INET, EbpfContext,
        bindings::{
            BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
            BPF_TCP_CLOSE, bpf_sock,
        },
        clock::now,
        helpers::bpf_get_netns_cookie,
        programs::SockOpsContext,
    },
    state::{
        counters::{ListenerCounters, count, count_established},
        events::{self, Traffic},
        flows::FLOWS,
        handshakes::HANDSHAKES,
        listeners::LISTENERS,
        namespace::HAS_NETNS_COOKIE,
        parts, policies,
        storage::{SOCKETS, TRANSLATED_SOCKETS, forget, store, stored},
        translations::{TRANSLATIONS, is_in_use},
    },
};

/// Runs for every TCP socket of the node: the two cheap questions come first.
#[inline(always)]
pub fn run(ctx: &SockOpsContext) {
    match ctx.op() {
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB if is_guarded(ctx) => established(ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => closed(ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == TCP_FIN_WAIT2 => fin_acknowledged(ctx),
        _ => {}
    }
}

#[inline(always)]
fn is_guarded(ctx: &SockOpsContext) -> bool {
    listener(ctx).is_some()
}

/// The listener that guards the socket's local port.
#[inline(always)]
fn listener(ctx: &SockOpsContext) -> Option<u16> {
    PORTS.get(ctx.local_port() & 0xffff)?.checked_sub(1)
}

/// Copies the flow's record to the socket, from where the socket's hooks read it.
#[inline(always)]
fn established(ctx: &SockOpsContext) {
    let (key, now_ns) = (key(ctx), now());
    let translated = begin_translation(ctx, &key, now_ns);
    let Some(record) = FLOWS.get_ptr_mut(&key) else {
        if translated {
            count(Counter::RecordLost);
        } else {
            await_header(ctx, &key);
        }
        return;
    };
    // SAFETY: an element of the map; entries are not removed while their connection is being established.
    let record = unsafe { &mut *record };
    if record.established_ns != 0 {
        return;
    }
    if !translated && is_left_over(record.handed_over_ns, now_ns) {
        let _ = FLOWS.remove(&key);
        await_header(ctx, &key);
        return;
    }
    parts::remove(&key);
    record.established_ns = now_ns;
    if storage(ctx, Some(record)).is_none() {
        count(Counter::RecordLost);
        return;
    }
    follow(ctx);
    let counters = ListenerCounters::of(record.listener);
    if record.hand_off == HandOff::Accept as u8
        && !record.has(FlowRecord::DENIED)
        && let Some(counters) = counters
    {
        counters.count(per_listener::ACCEPT_ESTABLISHED);
    }
    count_established(record, counters);
    if events::is_wanted(EventKind::Established, record) {
        events::send(EventKind::Established, &key, record, Traffic::default());
    }
}

/// Notes that a translated connection is established; false if this one is not translated.
#[inline(always)]
fn begin_translation(ctx: &SockOpsContext, key: &FlowKey, now_ns: u64) -> bool {
    if !is_in_use() {
        return false;
    }
    let Some(translation) = TRANSLATIONS.get_ptr_mut(key) else { return false };
    // SAFETY: an element of the map; at worst it is another connection's by now, which is about to be used.
    let translation = unsafe { &mut *translation };
    if translation.flags & Translation::SUPERSEDED != 0 || is_left_over(translation.seen_ns, now_ns)
    {
        // By this connection: the header of one that is translated would have replaced the entry.
        let _ = TRANSLATIONS.remove(key);
        return false;
    }
    translation.seen_ns = now_ns;
    translation.state = Translation::ESTABLISHED;
    // Packets of denied clients are marked. The table alone says which these are.
    if translation.flags & Translation::DENIED == 0 {
        let (namespace, ahead) = (key.namespace, translation.ahead());
        let mut translated = TranslatedSocket { namespace, ahead, reserved: 0 };
        // SAFETY: the context's own socket. Without memory its segments are looked up in the table.
        let _ = unsafe { store(&TRANSLATED_SOCKETS, socket(ctx), &mut translated) };
    }
    // Its end must be seen, also if the record is lost.
    follow(ctx);
    true
}

/// Whether what was noted then is of an earlier connection of this 4-tuple, whose establishment was not noticed: a program
/// was detached. The segment that establishes a connection was noted a moment ago.
#[inline(always)]
fn is_left_over(noted_ns: u64, now_ns: u64) -> bool {
    const MOMENT_NS: u64 = 5_000_000_000;
    // Another CPU may have noted the connection's next segment meanwhile.
    now_ns.saturating_sub(noted_ns) > MOMENT_NS
}

/// Asks the kernel to report the socket's changes of state.
#[inline(always)]
fn follow(ctx: &SockOpsContext) {
    let _ = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
}

/// Marks the socket of a connection that is observed: its header is yet to come.
#[inline(always)]
fn await_header(ctx: &SockOpsContext, key: &FlowKey) {
    let Some(listener) = listener(ctx) else { return };
    let observed = LISTENERS
        .get(listener.into())
        .is_some_and(|settings| settings.hand_off == HandOffChoice::Observe as u8);
    let trusted =
        policies::rules_of(listener).is_some_and(|rules| policies::trusts(rules, &key.peer.0));
    if !observed || !trusted {
        return;
    }
    let mut mark = FlowRecord { listener, hand_off: HandOff::Observe as u8, ..FlowRecord::EMPTY };
    if storage(ctx, Some(&mut mark)).is_none() {
        count(Counter::RecordLost);
        return;
    }
    follow(ctx);
}

/// Notes what was received before the peer's FIN can come.
#[inline(always)]
fn fin_acknowledged(ctx: &SockOpsContext) {
    if let Some(record) = storage(ctx, None) {
        // SAFETY: a field of the context.
        record.received_at_fin_wait = unsafe { (*ctx.ops).bytes_received };
    }
}

#[inline(always)]
fn closed(ctx: &SockOpsContext) {
    let record = storage(ctx, None);
    let translated = match &record {
        Some(record) => record.hand_off == HandOff::Translate as u8,
        None => is_guarded(ctx),
    };
    let key = key(ctx);
    if translated {
        end_translation(ctx, &key);
    }
    let Some(record) = record else { return };
    if record.hand_off == HandOff::Observe as u8 {
        // Segments that come yet are no longer held until the header has come: the kernel resets their connection.
        let _ = HANDSHAKES.remove(&key);
    }
    if awaits_header(record) {
        parts::remove(&key);
        return;
    }
    count(Counter::Closed);
    if events::is_wanted(EventKind::Closed, record) {
        events::send(EventKind::Closed, &key, record, end::traffic(ctx, record));
    }
    end::remember(ctx, &key, record);
    let _ = FLOWS.remove(&key);
}

/// Ends the translation now if the peer sent the final segment (`LAST_ACK`, or a RST). Otherwise the socket may leave a
/// `TIME_WAIT` behind, or send a RST after this. Then the entry is removed with the RST, or later by the agent.
#[inline(always)]
fn end_translation(ctx: &SockOpsContext, key: &FlowKey) {
    /// Within it a RST is taken, or not at all.
    const MOMENT_NS: u64 = 1_000_000_000;
    // The application may connect the socket to somebody else. SAFETY: the context's own socket.
    unsafe { forget(&TRANSLATED_SOCKETS, socket(ctx)) };
    let Some(translation) = TRANSLATIONS.get_ptr_mut(key) else { return };
    // SAFETY: an element of the map, this socket's.
    let translation = unsafe { &mut *translation };
    let reset = translation.state == Translation::RESET
        && now().wrapping_sub(translation.seen_ns) < MOMENT_NS;
    if translation.flags & Translation::SUPERSEDED == 0 && (ctx.arg(0) == TCP_LAST_ACK || reset) {
        let _ = TRANSLATIONS.remove(key);
    } else {
        translation.seen_ns = now();
        translation.state = Translation::CLOSED;
    }
}

/// The context's socket, or null.
#[inline(always)]
fn socket(ctx: &SockOpsContext) -> *mut bpf_sock {
    // SAFETY: a field of the context.
    unsafe { (*ctx.ops).__bindgen_anon_2.sk }
}

/// The record in the socket's storage; with `create`, put there.
#[inline(always)]
fn storage(
    ctx: &SockOpsContext,
    create: Option<&mut FlowRecord>,
) -> Option<&'static mut FlowRecord> {
    let socket = socket(ctx);
    // SAFETY: the context's own socket.
    let record = unsafe {
        match create {
            Some(record) => store(&SOCKETS, socket, record)?,
            None => stored(&SOCKETS, socket)?,
        }
    };
    // SAFETY: the storage lives as long as the socket, and the socket as long as this program runs.
    Some(unsafe { &mut *record.as_ptr() })
}

/// An address field of the context, word by word: the verifier allows loads at constant offsets only, and
/// the compiler would compute a pointer to copy the array.
macro_rules! field {
    ($ctx:ident.$field:ident) => {{
        let mut bytes = [0; 16];
        let mut word = 0;
        while word < 4 {
            // SAFETY: a field of the context.
            let value = unsafe { (&raw const (*$ctx.ops).$field[word]).read_volatile() };
            crate::frame::checksum::copy(&mut bytes, word * 4, value.to_ne_bytes());
            word += 1;
        }
        bytes
    }};
}

/// The flow of this socket. IPv4 connections of dual-stack sockets have IPv4-mapped addresses here.
#[inline(always)]
fn key(ctx: &SockOpsContext) -> FlowKey {
    // remote_port is in network order in the upper half on little-endian hosts, local_port in host order.
    let remote_port = ((ctx.remote_port() >> 16) as u16).to_ne_bytes();
    let local_port = (ctx.local_port() as u16).to_be_bytes();
    let (peer, local) = if ctx.family() == AF_INET.into() {
        (
            Endpoint::from_v4(ctx.remote_ip4().to_ne_bytes(), remote_port),
            Endpoint::from_v4(ctx.local_ip4().to_ne_bytes(), local_port),
        )
    } else {
        (
            Endpoint::from_v6(field!(ctx.remote_ip6), remote_port),
            Endpoint::from_v6(field!(ctx.local_ip6), local_port),
        )
    };
    let namespace = match HAS_NETNS_COOKIE.load() {
        0 => 0,
        // SAFETY: the context itself.
        _ => unsafe { bpf_get_netns_cookie(ctx.as_ptr()) },
    };
    FlowKey::new(namespace, Peer(peer), Local(local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_cpu_notes_meanwhile_is_not_left_over() {
        assert!(!is_left_over(7, 6), "noted behind the clock's reading");
        assert!(!is_left_over(7, 5_000_000_007));
        assert!(is_left_over(7, 5_000_000_008));
    }
}
