//! The maps of an instance of the kernel object, private to the test.

use std::thread;
use std::time::Duration;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use aya::{Ebpf, Pod};
use proxyip_common::cookie::{SECRETS, Secret};
use proxyip_common::counter::per_listener::{self, Counters};
use proxyip_common::counter::{Counter, DropReason, Obstacle};
use proxyip_common::flow::{FlowKey, FlowRecord, Handshake, Translation};
use proxyip_common::neighbour::{Neighbour, Seen};
use proxyip_common::partial::{HeaderBytes, PartialHeader};
use proxyip_common::policy::PolicyWords;
use proxyip_common::settings::{
    ListenerSettings, NamespaceSettings, Policy, RETIRED, ScopedAddress, access,
};
use proxyip_common::verdict::Verdict;
use proxyip_user::bpf::pod::Raw;

use crate::bench::count::Count;
use crate::bench::family::{FAMILIES, TRUSTED};
use crate::bench::state::{Entry, endpoint, now_ns, secret};
use crate::bench::{DENYING, LISTENERS, OVER};
use crate::packet::{HOST, SENDER};

type Table<T> = HashMap<MapData, Raw<FlowKey>, Raw<T>>;

/// What is written for each case, and read after it.
pub struct Tables {
    namespaces: Array<MapData, Raw<NamespaceSettings>>,
    counters: [PerCpuArray<MapData, u64>; 3],
    of_listeners: PerCpuArray<MapData, Counters>,
    handshakes: Table<Handshake>,
    translations: Table<Translation>,
    flows: Table<FlowRecord>,
    in_use: Array<MapData, u32>,
    answered: PerCpuArray<MapData, [u32; 2]>,
    partial: Table<PartialHeader>,
    bytes: Table<HeaderBytes>,
    neighbours: HashMap<MapData, Raw<Neighbour>, Raw<Seen>>,
    /// Of how many listeners the counters are looked at.
    looked_at: u32,
}

/// Of how many listeners there are counters to look at.
#[expect(clippy::cast_possible_truncation, reason = "there are a few")]
const COUNTED: u32 = LISTENERS.len() as u32;

fn take<T>(ebpf: &mut Ebpf, name: &str) -> T
where
    T: TryFrom<Map, Error = MapError>,
{
    T::try_from(ebpf.take_map(name).expect(name)).expect(name)
}

/// Writes what is the same for all cases: secrets, ports, listeners, trust.
fn configure(ebpf: &mut Ebpf) {
    let mut secrets: Array<MapData, Secret> = take(ebpf, "SECRETS");
    for slot in 0..SECRETS {
        secrets.set(slot, secret(slot), 0).expect("the secrets");
    }
    let mut ports: Array<MapData, u16> = take(ebpf, "PORTS");
    let mut settings: Array<MapData, Raw<ListenerSettings>> = take(ebpf, "LISTENERS");
    let mut policies: HashMap<MapData, u32, Raw<PolicyWords>> = take(ebpf, "POLICIES");
    let mut clients: LpmTrie<MapData, Raw<ScopedAddress>, u8> = take(ebpf, "CLIENTS");
    let mut trusted: LpmTrie<MapData, Raw<ScopedAddress>, u8> = take(ebpf, "TRUSTED");
    for (index, (port, hand_off, untrusted)) in (0..).zip(LISTENERS) {
        let listener = ListenerSettings {
            flags: ListenerSettings::V1 | ListenerSettings::V2,
            hand_off: hand_off as u8,
            reserved: [0; 6],
            header_timeout_ns: 5_000_000_000,
        };
        settings.set(index.into(), Raw(listener), 0).expect("a listener");
        let scope = u32::from(index);
        let denied = DENYING.iter().find(|(denying, _)| *denying == port);
        let policy = Policy {
            scope,
            untrusted: untrusted as u8,
            denied: denied.map_or(0, |(_, denied)| *denied as u8),
            otherwise: access::ALLOW,
            judges: u8::from(denied.is_some()),
            ..Policy::default()
        };
        for family in FAMILIES {
            let client = ScopedAddress::new(scope, &endpoint(family.client().ip()));
            let key = Key::new(ScopedAddress::BITS, Raw(client));
            clients.insert(&key, access::DENY, 0).expect("a verdict");
        }
        policies.insert(scope, Raw(PolicyWords::new(index, &policy)), 0).expect("a policy");
        for source in TRUSTED {
            let address = ScopedAddress::new(index.into(), &endpoint(source));
            trusted.insert(&Key::new(ScopedAddress::BITS, Raw(address)), 1, 0).expect("trust");
        }
        ports.set(port.into(), index + 1, 0).expect("a port");
    }
    ports.set(OVER.into(), RETIRED, 0).expect("a port");
}

impl Tables {
    /// Takes the maps out of the object, after its programs are loaded.
    pub fn new(ebpf: &mut Ebpf) -> Self {
        configure(ebpf);
        Self {
            namespaces: take(ebpf, "NAMESPACES"),
            counters: ["COUNTERS", "DROPS", "LEFT_TO_KERNEL"].map(|name| take(ebpf, name)),
            of_listeners: take(ebpf, "LISTENER_COUNTERS"),
            handshakes: take(ebpf, "HANDSHAKES"),
            translations: take(ebpf, "TRANSLATIONS"),
            flows: take(ebpf, "FLOWS"),
            in_use: take(ebpf, "IN_USE"),
            answered: take(ebpf, "FOREIGN_ANSWERS"),
            partial: take(ebpf, "PARTIAL_HEADERS"),
            bytes: take(ebpf, "HEADER_BYTES"),
            neighbours: take(ebpf, "NEIGHBOURS"),
            looked_at: COUNTED,
        }
    }

    /// From now on looks at the counters of so many listeners only, because that takes long on slow machines.
    pub fn look_at_listeners(&mut self, listeners: u32) {
        self.looked_at = listeners;
    }

    /// Makes settings and tables say this and nothing else, and the counters zero.
    pub fn reset(&mut self, settings: NamespaceSettings, entries: &[Entry]) {
        self.namespaces.set(0, Raw(settings), 0).expect("the settings");
        for map in &mut self.counters {
            for index in 0..map.len() {
                map.set(index, on_all(0), 0).expect("a counter");
            }
        }
        for listener in 0..self.looked_at {
            let zeros = on_all([0; per_listener::COUNT as usize]);
            self.of_listeners.set(listener, zeros, 0).expect("a listener's counters");
        }
        self.answered.set(0, on_all([0; 2]), 0).expect("what was answered");
        self.clear();
        for entry in entries {
            self.insert(*entry);
        }
        self.set_in_use(entries.iter().any(|entry| !matches!(entry, Entry::Flow(..))));
    }

    /// Makes the tables empty.
    pub fn clear(&mut self) {
        for entry in self.entries() {
            self.remove(entry);
        }
        // What an earlier case has begun.
        let begun: Vec<_> = self.partial.keys().filter_map(Result::ok).collect();
        for key in begun {
            self.partial.remove(&key).expect("it was there a moment ago");
            let _ = self.bytes.remove(&key);
        }
    }

    /// Lets all trusted sources have been answered behind this interface a moment ago.
    pub fn see_neighbours(&mut self, interface: u32) {
        let mut ethernet = [0; 12];
        ethernet[..6].copy_from_slice(&SENDER);
        ethernet[6..].copy_from_slice(&HOST);
        for source in TRUSTED {
            let address = endpoint(source).words();
            let neighbour = Neighbour { namespace: 0, interface, address };
            let seen = Seen { at_ns: now_ns(), address, ethernet, reserved: [0; 4] };
            self.neighbours.insert(Raw(neighbour), Raw(seen), 0).expect("there is room");
        }
    }

    /// Forgets who is next to the interface.
    pub fn forget_neighbours(&mut self) {
        let neighbours: Vec<_> = self.neighbours.keys().filter_map(Result::ok).collect();
        for neighbour in neighbours {
            self.neighbours.remove(&neighbour).expect("it was there a moment ago");
        }
    }

    /// Says whether the tables of the translate hand-off have ever had an entry.
    pub fn set_in_use(&mut self, used: bool) {
        self.in_use.set(0, u32::from(used), 0).expect("the mark");
    }

    /// Has as many segments of no handshake answered as may be at this moment, or none. For some time this will not change by
    /// itself.
    ///
    /// # Panics
    /// If the map cannot be written.
    pub fn set_flooded(&mut self, flooded: bool) {
        /// Of `state/floods.rs` of the kernel programs.
        const WINDOW_NS: u64 = 1 << 27;
        const ENOUGH_NS: u64 = WINDOW_NS / 2;
        while WINDOW_NS - now_ns() % WINDOW_NS < ENOUGH_NS {
            thread::sleep(Duration::from_millis(10));
        }
        let window = u32::try_from(now_ns() / WINDOW_NS).expect("the host has just started");
        let answered = [window, if flooded { u32::MAX } else { 0 }];
        self.answered.set(0, on_all(answered), 0).expect("what was answered");
    }

    fn remove(&mut self, entry: Entry) {
        let removed = match entry {
            Entry::Handshake(key, _) => self.handshakes.remove(&Raw(key)),
            Entry::Translation(key, _) => self.translations.remove(&Raw(key)),
            Entry::Flow(key, _) => self.flows.remove(&Raw(key)),
        };
        removed.expect("it was there a moment ago");
    }

    fn insert(&mut self, entry: Entry) {
        let inserted = match entry {
            // Begun this very moment.
            Entry::Handshake(key, value) => {
                let value = Handshake { since_ns: now_ns(), ..value };
                self.handshakes.insert(Raw(key), Raw(value), 0)
            }
            Entry::Translation(key, value) => self.translations.insert(Raw(key), Raw(value), 0),
            // Handed over this very moment.
            Entry::Flow(key, value) => {
                let value = FlowRecord { handed_over_ns: now_ns(), ..value };
                self.flows.insert(Raw(key), Raw(value), 0)
            }
        };
        inserted.expect("there is room");
    }

    /// All entries of the tables, without times.
    pub fn entries(&self) -> Vec<Entry> {
        let handshakes = all(&self.handshakes)
            .map(|(key, value)| Entry::Handshake(key, Handshake { since_ns: 0, ..value }));
        let translations = all(&self.translations)
            .map(|(key, value)| Entry::Translation(key, Translation { seen_ns: 0, ..value }));
        let flows = all(&self.flows).map(|(key, value)| {
            Entry::Flow(key, FlowRecord { handed_over_ns: 0, established_ns: 0, ..value })
        });
        handshakes.chain(translations).chain(flows).collect()
    }

    /// What the counters of a listener say. The sum of times has no place among counts.
    fn of_listener(&self, listener: u32) -> impl Iterator<Item = (Count, u64)> {
        let on_all = self.of_listeners.get(&listener, 0).expect("a listener's counters");
        let counters = (0..per_listener::COUNT).filter(|one| *one != per_listener::LATENCY_SUM);
        counters.map(move |counter| {
            let sum = on_all.iter().map(|counters| counters[counter as usize]).sum();
            (of_listener(listener, counter), sum)
        })
    }

    /// Every counter that is not zero, with its value.
    pub fn counts(&self) -> Vec<(Count, u64)> {
        let [counters, drops, left] = &self.counters;
        let named = [
            Counter::ALL.iter().map(|one| (counters, *one as u32, (*one).into())).collect(),
            DropReason::ALL.iter().map(|one| (drops, *one as u32, (*one).into())).collect(),
            Obstacle::ALL.iter().map(|one| (left, *one as u32, (*one).into())).collect::<Vec<_>>(),
        ];
        let sum = |(map, index, count): (&PerCpuArray<MapData, u64>, u32, Count)| {
            (count, map.get(&index, 0).expect("a counter").iter().sum())
        };
        let of_listeners = (0..self.looked_at).flat_map(|listener| self.of_listener(listener));
        let mut counts: Vec<(Count, u64)> = Vec::new();
        for (count, sum) in named.into_iter().flatten().map(sum).chain(of_listeners) {
            match counts.iter_mut().find(|(other, _)| *other == count) {
                _ if sum == 0 => {}
                Some((_, before)) => *before += sum,
                None => counts.push((count, sum)),
            }
        }
        counts
    }
}

/// The same value for each processor.
fn on_all<T: Pod + Clone>(value: T) -> PerCpuValues<T> {
    let values = vec![value; nr_cpus().expect("a number of processors")];
    PerCpuValues::try_from(values).expect("one for each")
}

/// One of the counters of a listener; times are not looked at.
fn of_listener(listener: u32, counter: u32) -> Count {
    match counter {
        per_listener::LATENCY.. => Count::Latency,
        per_listener::OUTCOMES.. => {
            let verdict = (counter - per_listener::OUTCOMES) % Verdict::COUNT;
            Count::Outcome(Verdict::ALL[verdict as usize])
        }
        _ => Count::Listener(listener, counter),
    }
}

/// The entries of a table.
fn all<T: Copy>(table: &Table<T>) -> impl Iterator<Item = (FlowKey, T)>
where
    Raw<T>: aya::Pod,
{
    table.iter().map(|entry| {
        let (Raw(key), Raw(value)) = entry.expect("nothing changes while it is read");
        (key, value)
    })
}
