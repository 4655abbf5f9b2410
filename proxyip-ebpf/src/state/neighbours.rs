//! Who is next to an interface. The kernel's routing table and neighbours are seen in the SYN-ACKs that leave: a program at XDP
//! cannot ask for them where forwarding is off (<https://elixir.bootlin.com/linux/v6.12/source/net/core/filter.c>,
//! `bpf_ipv4_fib_lookup()`), as on most servers.

use proxyip_common::neighbour::{Neighbour, Seen};

use crate::{
    frame::segment::Segment,
    kernel::{
        bindings::BPF_ANY, btf_maps::LruHashMap, clock::now, macros::btf_map, packet::Packet,
    },
    state::{
        in_use::{self, set_used},
        namespace::place,
    },
};

/// What SYN-ACKs had in their Ethernet headers, by interface and peer.
#[btf_map]
pub static NEIGHBOURS: LruHashMap<Neighbour, Seen, 4096> = LruHashMap::new();

/// Notes what a frame that leaves the host has in its Ethernet header, destination and source.
#[inline(always)]
pub fn note(interface: u32, address: [u32; 4], ethernet: [u8; 12]) {
    let neighbour = Neighbour { namespace: place(), interface, address };
    let at_ns = now();
    if let Some(seen) = NEIGHBOURS.get_ptr(&neighbour)
        // SAFETY: an element of the map; if it is another's by now, its address shows that.
        && unsafe { *seen }.is_fresh(address, ethernet, at_ns)
    {
        return;
    }
    let seen = Seen { at_ns, address, ethernet, reserved: [0; 4] };
    // If that fails, the next SYN takes the ordinary way too.
    let _ = NEIGHBOURS.insert(&neighbour, &seen, BPF_ANY.into());
}

/// Whether the segment is for this host's Ethernet address, and comes from where the kernel has just sent an answer to its peer.
/// Otherwise another machine on the link, which claims the address, would learn a cookie.
#[inline(never)]
pub fn is_next(packet: &impl Packet, segment: &Segment) -> bool {
    // The egress program begins to note them.
    set_used(in_use::NEIGHBOURS);
    let address = segment.peer.0.words();
    let neighbour = Neighbour { namespace: place(), interface: packet.interface(), address };
    let Some(seen) = NEIGHBOURS.get_ptr(&neighbour) else { return false };
    // SAFETY: an element of the map; if it is another's by now, its address shows that.
    let seen = unsafe { *seen };
    packet.load_at(0).is_some_and(|ethernet| seen.is_of(address, ethernet, now()))
}
