//! What is in force, as read from the kernel's maps.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use aya::maps::{HashMap, LpmTrie, Map, MapData};
use proxyip_common::policy::PolicyWords;
use proxyip_common::settings::ScopedAddress;
use proxyip_user::bpf::pod::Raw;

/// The agent's maps, through their pins.
pub(super) struct Maps {
    policies: HashMap<MapData, u32, Raw<PolicyWords>>,
    trusted: LpmTrie<MapData, Raw<ScopedAddress>, u8>,
    clients: LpmTrie<MapData, Raw<ScopedAddress>, u8>,
}

impl Maps {
    pub(super) fn of(pin_path: &Path) -> Self {
        let mut entries =
            fs::read_dir(pin_path).expect("pins").map(|one| one.expect("a pin").path());
        let directory = entries.find(|path| path.join("POLICIES").exists()).expect("pinned maps");
        let open = |name: &str| MapData::from_pin(directory.join(name)).expect("a pinned map");
        let trie = |name| LpmTrie::try_from(Map::LpmTrie(open(name))).expect("a trie");
        let policies = HashMap::try_from(Map::HashMap(open("POLICIES"))).expect("policies");
        Self { policies, trusted: trie("TRUSTED"), clients: trie("CLIENTS") }
    }

    pub(super) fn is_trusted(&self, place: u16, source: IpAddr) -> bool {
        let Raw(words) = self.policies.get(&place.into(), 0).expect("a policy");
        let policy = words.policy(place).expect("the listener's own");
        let address = ScopedAddress::new(policy.scope, &proxyip_tests::bench::endpoint(source));
        let key = aya::maps::lpm_trie::Key::new(ScopedAddress::BITS, Raw(address));
        self.trusted.get(&key, 0).is_ok_and(|value| value != 0)
    }

    /// Scopes that have networks and belong to no policy.
    pub(super) fn left_over(&self) -> Vec<u32> {
        let policies = self.policies.iter().map(|entry| {
            let (place, Raw(words)) = entry.expect("a policy");
            let place = u16::try_from(place).expect("a place");
            words.policy(place).expect("the listener's own").scope
        });
        let in_force: Vec<_> = policies.collect();
        let keys = self.trusted.keys().chain(self.clients.keys());
        let scopes = keys.map(|key| u32::from_be_bytes(key.expect("a key").data().0.scope));
        scopes.filter(|scope| !in_force.contains(scope)).collect()
    }
}
