//! What NAT does with the connections to a guarded port.
//!
//! Where a network namespace has rules of NAT, the kernel takes the request socket off a segment that is handed over: it
//! compares ports that the socket does not have yet
//! (<https://elixir.bootlin.com/linux/v6.9/source/net/netfilter/nf_nat_proto.c>, `nf_nat_ipv4_local_in()`). So no
//! connection is accepted there.
//!
//! A rule of PREROUTING may also redirect the port, behind the ingress program, which finds the socket that listens on the
//! port in the segment. Then the connection is another socket's, or another host's. Only the SYN-ACK shows it: it has the
//! guarded port again, but the socket that sends it has its own.

use proxyip_common::{
    flow::Handshake,
    nat::{GuardedPort, Redirected},
};

use crate::{
    frame::segment::Segment,
    kernel::{
        bindings::BPF_ANY, btf_maps::LruHashMap, clock::now, macros::btf_map, packet::raw,
        programs::TcContext,
    },
    state::{
        handshakes::HANDSHAKES,
        memory::Egress,
        namespace::{place, settings},
    },
};

/// The ports whose last SYN-ACK has shown that they are redirected.
#[btf_map]
pub static REDIRECTED: LruHashMap<GuardedPort, Redirected, 4096> = LruHashMap::new();

#[inline(always)]
fn port(segment: &Segment) -> GuardedPort {
    let (namespace, port) = (place(), segment.local.0.port());
    GuardedPort { namespace, port, ipv6: segment.ipv6.into() }
}

/// Whether the namespace has rules of NAT.
#[inline(always)]
pub fn is_there() -> bool {
    settings().is_some_and(|settings| settings.nat_since_ns != 0)
}

/// Whether NAT redirects a connection that this SYN begins. After a while, and when the rules have changed, that is to be
/// seen again.
#[inline(never)]
pub fn redirects(segment: &Segment) -> bool {
    let since_ns = settings().map_or(0, |settings| settings.nat_since_ns);
    if since_ns == 0 {
        return false;
    }
    // SAFETY: an element of the map; at worst it is another port's by now.
    REDIRECTED
        .get_ptr(&port(segment))
        .is_some_and(|course| unsafe { (*course).counts(now(), since_ns) })
}

/// Whether a segment that is no SYN may be of a connection that NAT redirects.
#[inline(never)]
pub fn is_redirected(segment: &Segment) -> bool {
    is_there() && REDIRECTED.get_ptr(&port(segment)).is_some()
}

/// Notes where the SYN that this SYN-ACK answers has gone. True if that is elsewhere: then the connection is left alone. Its
/// flow is in `memory`.
#[inline(never)]
pub fn note(ctx: &TcContext, segment: &Segment, memory: &mut Egress) -> bool {
    let Some(handshake) = HANDSHAKES.get_ptr_mut(&memory.key) else { return false };
    // SAFETY: an element of the map; at worst it is another handshake's by now, to the same host.
    if unsafe { (*handshake).hand_off } == Handshake::LEFT {
        return false;
    }
    let Some(redirected) = is_elsewhere(ctx, segment) else { return false };
    let port = port(segment);
    if redirected {
        let _ = REDIRECTED.insert(&port, &Redirected { seen_ns: now() }, BPF_ANY.into());
        // SAFETY: as above.
        unsafe { (*handshake).hand_off = Handshake::LEFT };
    } else if REDIRECTED.get_ptr(&port).is_some() {
        let _ = REDIRECTED.remove(&port);
    }
    redirected
}

/// Whether the segment comes from another host, or from a socket with another port; `None` if the kernel does not say.
#[inline(always)]
fn is_elsewhere(ctx: &TcContext, segment: &Segment) -> Option<bool> {
    let skb = raw(ctx);
    // SAFETY: a field of the context.
    if unsafe { (*skb).ingress_ifindex } != 0 {
        return Some(true);
    }
    // SAFETY: a field of the context: a socket of any kind, or null.
    let socket = unsafe { (*skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        // A SYN cookie of the kernel's.
        return None;
    }
    // SAFETY: not null; a field that all kinds of sockets have.
    Some(unsafe { (*socket).src_port } != u32::from(segment.local.0.port()))
}
