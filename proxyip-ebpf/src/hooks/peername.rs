//! What `accept()` and `getpeername()` answer.

use proxyip_common::{
    counter::Counter,
    flow::{FlowRecord, HandOff, Origin},
};

use crate::{
    kernel::programs::SockAddrContext,
    state::{counters::count, storage::SOCKETS},
};

/// The client of this socket, if its header named one. An application that reads the header itself expects to
/// see the load balancer.
#[inline(always)]
fn client(ctx: &SockAddrContext) -> Option<&'static FlowRecord> {
    // SAFETY: the context's own socket.
    let record = unsafe { SOCKETS.get_ptr_mut(ctx).as_ref() }?;
    let hidden = record.hand_off == HandOff::Observe as u8;
    if record.origin == Origin::Proxied as u8 && !hidden { Some(record) } else { None }
}

/// For `AF_INET` sockets. An IPv6 client cannot be expressed there: the peer stays.
#[inline(always)]
pub fn v4(ctx: &SockAddrContext) {
    let Some(record) = client(ctx) else { return };
    let Some(address) = record.client.0.v4() else {
        count(Counter::PeerNameInexpressible);
        return;
    };
    // SAFETY: fields of the context.
    unsafe {
        (*ctx.sock_addr).user_ip4 = u32::from_ne_bytes(address);
        (*ctx.sock_addr).user_port = port(record);
    }
}

/// For `AF_INET6` sockets; an IPv4 client is IPv4-mapped.
#[inline(always)]
pub fn v6(ctx: &SockAddrContext) {
    let Some(record) = client(ctx) else { return };
    let [a, b, c, d] = record.client.0.words();
    // SAFETY: fields of the context, each written by a store of its own as the verifier wants.
    unsafe {
        let address = &raw mut (*ctx.sock_addr).user_ip6;
        (&raw mut (*address)[0]).write_volatile(a);
        (&raw mut (*address)[1]).write_volatile(b);
        (&raw mut (*address)[2]).write_volatile(c);
        (&raw mut (*address)[3]).write_volatile(d);
        (*ctx.sock_addr).user_port = port(record);
    }
}

/// As the context wants it: network byte order.
#[inline(always)]
fn port(record: &FlowRecord) -> u32 {
    u16::from_ne_bytes(record.client.0.port_bytes()).into()
}
