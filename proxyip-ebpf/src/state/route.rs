//! Whether a segment is for this host at all.

use crate::{
    frame::{segment::Segment, tcp::PROTOCOL_TCP},
    kernel::{
        AF_INET, AF_INET6,
        bindings::{
            BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NOT_FWDED, bpf_fib_lookup as Lookup,
            bpf_fib_lookup__bindgen_ty_1, bpf_fib_lookup__bindgen_ty_2,
            bpf_fib_lookup__bindgen_ty_3, bpf_fib_lookup__bindgen_ty_4,
            bpf_fib_lookup__bindgen_ty_5,
        },
        helpers::bpf_fib_lookup,
        packet::Packet,
    },
};

const NOT_FORWARDED: i64 = BPF_FIB_LKUP_RET_NOT_FWDED as i64;
const FORWARDING_DISABLED: i64 = BPF_FIB_LKUP_RET_FWD_DISABLED as i64;

/// Whether the routing table delivers the segment here.
///
/// A listener on the wildcard address is found for any destination. On a host that forwards, such as a
/// Kubernetes node, the segment may be another's: a pod's on the same port.
#[inline(never)]
pub fn is_local(packet: &impl Packet, segment: &Segment) -> bool {
    let (source, destination) = (segment.peer.0.words(), segment.local.0.words());
    let mut lookup = Lookup {
        family: if segment.ipv6 { AF_INET6 } else { AF_INET },
        l4_protocol: PROTOCOL_TCP,
        sport: u16::from_ne_bytes(segment.peer.0.port_bytes()),
        dport: u16::from_ne_bytes(segment.local.0.port_bytes()),
        __bindgen_anon_1: bpf_fib_lookup__bindgen_ty_1 { tot_len: 0 },
        ifindex: packet.interface(),
        __bindgen_anon_2: bpf_fib_lookup__bindgen_ty_2 { flowinfo: 0 },
        __bindgen_anon_3: bpf_fib_lookup__bindgen_ty_3 { ipv6_src: source },
        __bindgen_anon_4: bpf_fib_lookup__bindgen_ty_4 { ipv6_dst: destination },
        __bindgen_anon_5: bpf_fib_lookup__bindgen_ty_5 { tbid: 0 },
        smac: [0; 6],
        dmac: [0; 6],
    };
    if !segment.ipv6 {
        // The IPv4 address is the last word of the IPv4-mapped one, but the first of the field.
        lookup.__bindgen_anon_3.ipv4_src = source[3];
        lookup.__bindgen_anon_4.ipv4_dst = destination[3];
    }
    // SAFETY: the structure is initialised, and its size is passed.
    let result =
        unsafe { bpf_fib_lookup(packet.context(), &raw mut lookup, size_of::<Lookup>() as i32, 0) };
    // Where forwarding is off, a segment for another host would be dropped by the stack anyway.
    matches!(result, NOT_FORWARDED | FORWARDING_DISABLED)
}
