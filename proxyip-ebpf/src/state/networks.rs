//! Lists of networks.

use proxyip_common::settings::{MAX_NETWORKS, MAX_ROUTES, MAX_SETS, Name, ScopedAddress};

use crate::kernel::{
    Global,
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, LpmTrie},
    macros::btf_map,
};

/// Sources by scope: 1 for those that are trusted, 0 for exceptions within them.
#[btf_map]
pub static TRUSTED: LpmTrie<ScopedAddress, u8, { MAX_NETWORKS as usize }> = LpmTrie::new();

/// Clients by scope: a [`access`](proxyip_common::settings::access) of each network.
#[btf_map]
pub static CLIENTS: LpmTrie<ScopedAddress, u8, { MAX_NETWORKS as usize }> = LpmTrie::new();

/// Which entry of [`SETS`] the program for rules of iptables looks in; set before loading.
#[unsafe(no_mangle)]
pub static SET: Global<u32> = Global::new(0);

/// The scopes of named sets in [`CLIENTS`], as [`set_word`](proxyip_common::policy::set_word)s; replaced like policies.
#[btf_map]
pub static SETS: HashMap<u32, u64, { MAX_SETS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Names of the sets, for the agent.
#[btf_map]
pub static SET_NAMES: Array<Name, { MAX_SETS as usize }> = Array::new();

/// Advertised MSS by namespace and destination, host order; 0 for routes without an MSS of their own.
#[btf_map]
pub static ROUTES: LpmTrie<ScopedAddress, u16, { MAX_ROUTES as usize }> = LpmTrie::new();
