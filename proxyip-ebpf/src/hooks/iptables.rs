//! Named sets of networks, for rules of iptables: `-m bpf --object-pinned`.
//!
//! netfilter runs the program for a packet that begins with its IP header
//! ([`bpf_mt_v1()`](https://elixir.bootlin.com/linux/v6.12/source/net/netfilter/xt_bpf.c)).

use proxyip_common::{
    address::{Endpoint, Local, Peer},
    flow::FlowKey,
    policy::scope_of_set,
    settings::{ScopedAddress, access},
};

use crate::{
    frame::{
        ip::{FRAGMENT_OFFSET, IPV6},
        tcp::PROTOCOL_TCP,
    },
    kernel::{bindings::__sk_buff, btf_maps::lpm_trie::Key, helpers::bpf_skb_load_bytes},
    state::{
        flows::FLOWS,
        namespace::settings,
        networks::{CLIENTS, SET, SETS},
    },
};

/// Whether the client of the packet's connection is a member of the set. Of a packet of no flow the client is its source.
#[inline(always)]
pub fn has_client(skb: *mut __sk_buff) -> bool {
    let Some(scope) = scope() else { return false };
    let Some(client) = client(skb) else { return false };
    let client = ScopedAddress::new(scope, &client);
    let found = CLIENTS.get(&Key::new(ScopedAddress::BITS, client));
    found.is_some_and(|found| *found & access::ALLOWED != 0)
}

/// The scope of the set.
#[inline(always)]
fn scope() -> Option<u32> {
    /// How often it is looked up when it is replaced meanwhile.
    const TRIES: u32 = 3;
    let set = SET.load();
    for _ in 0..TRIES {
        let word = SETS.get_ptr(&set)?;
        // SAFETY: an element of the map; the word says whose it is.
        if let Some(scope) = scope_of_set(unsafe { word.read_volatile() }, set) {
            return Some(scope);
        }
    }
    None
}

/// The client of the packet; `None` if it is no IP packet.
#[inline(always)]
fn client(skb: *mut __sk_buff) -> Option<Endpoint> {
    let [version] = load(skb, 0)?;
    match version >> 4 {
        4 => client_v4(skb),
        6 => client_v6(skb),
        _ => None,
    }
}

#[inline(always)]
fn client_v4(skb: *mut __sk_buff) -> Option<Endpoint> {
    const LENGTH: u32 = 0;
    const FRAGMENT: u32 = 6;
    const PROTOCOL: u32 = 9;
    const SOURCE: u32 = 12;
    const DESTINATION: u32 = 16;
    let [protocol] = load(skb, PROTOCOL)?;
    let [length] = load(skb, LENGTH)?;
    let fragment = u16::from_be_bytes(load(skb, FRAGMENT)?);
    let has_ports = protocol == PROTOCOL_TCP && fragment & FRAGMENT_OFFSET == 0;
    let (local, peer) = ports(skb, has_ports, u32::from(length & 0xf) * 4);
    let source = Endpoint::from_v4(load(skb, SOURCE)?, peer);
    Some(client_of(source, Endpoint::from_v4(load(skb, DESTINATION)?, local)))
}

/// This does not look for TCP behind extension headers; for those packets the source counts.
#[inline(always)]
fn client_v6(skb: *mut __sk_buff) -> Option<Endpoint> {
    const NEXT_HEADER: u32 = 6;
    const SOURCE: u32 = 8;
    const DESTINATION: u32 = 24;
    let [next] = load(skb, NEXT_HEADER)?;
    let (local, peer) = ports(skb, next == PROTOCOL_TCP, IPV6 as u32);
    let source = Endpoint::from_v6(load(skb, SOURCE)?, peer);
    Some(client_of(source, Endpoint::from_v6(load(skb, DESTINATION)?, local)))
}

/// This host's port and the peer's; zero if they cannot be read.
#[inline(always)]
fn ports(skb: *mut __sk_buff, has_ports: bool, tcp: u32) -> ([u8; 2], [u8; 2]) {
    if !has_ports {
        return Default::default();
    }
    let port = |at| load(skb, at).unwrap_or_default();
    (port(tcp + 2), port(tcp))
}

/// The client of the flow between two ends, or its source.
#[inline(always)]
fn client_of(source: Endpoint, destination: Endpoint) -> Endpoint {
    let namespace = settings().map_or(0, |settings| settings.cookie);
    let key = FlowKey::new(namespace, Peer(source), Local(destination));
    match FLOWS.get_ptr(&key) {
        // SAFETY: an element of the map; at worst it is another flow's by now.
        Some(record) => unsafe { (*record).client.0 },
        None => source,
    }
}

#[inline(always)]
fn load<const N: usize>(skb: *mut __sk_buff, offset: u32) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: as many bytes as the array has.
    let loaded =
        unsafe { bpf_skb_load_bytes(skb.cast(), offset, bytes.as_mut_ptr().cast(), N as u32) };
    if loaded == 0 { Some(bytes) } else { None }
}
