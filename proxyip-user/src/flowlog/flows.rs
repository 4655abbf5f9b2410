//! What the agent remembers of flows beyond the kernel's flow table: TLVs, and listeners' names.
//!
//! An agent that was restarted does not know the TLVs of connections that came before.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use proxyip_api::flow::{Flow, LiveFlow};
use proxyip_api::tlvs::TlvsJson;
use proxyip_common::flow::{FlowKey, FlowRecord};
use proxyip_common::header::{self, HeaderError};

use super::flow::flow;
use super::period::Clock;
use super::text::Known;
use super::tlvs;
use crate::desired::active::Current;

/// Joins entries of the flow table with what the agent remembers.
#[derive(Debug)]
pub struct Flows {
    current: Current,
    memory: Mutex<Memory>,
    clock: Clock,
}

impl Flows {
    /// Remembers the TLVs of at most `max_flows` flows, in `max_tlv_memory`.
    #[must_use]
    pub fn new(current: Current) -> Self {
        let agent = current.borrow().config.agent.clone();
        let bytes = in_bytes(agent.max_tlv_memory);
        let memory = Mutex::new(Memory::new(agent.max_flows as usize, bytes));
        Self { current, memory, clock: Clock::default() }
    }

    /// Remembers the TLVs of the header that `record` was made from.
    ///
    /// # Errors
    /// If the bytes are neither one whole header nor the beginning of a long one.
    pub fn remember(
        &self,
        key: FlowKey,
        record: &FlowRecord,
        bytes: &[u8],
    ) -> Result<(), HeaderError> {
        // The kernel programs have read all of it. Of a long header they send the beginning.
        let header = header::long::beginning(bytes)?;
        let end = bytes.len().min(header.length as usize);
        let tlvs = bytes.get(header.tlvs as usize..end);
        let tlvs = tlvs.ok_or(HeaderError::V2Length)?.into();
        let handed_over_ns = record.handed_over_ns;
        self.memory().insert(key, Remembered { handed_over_ns, tlvs });
        Ok(())
    }

    /// Uses at most this many MiB for TLVs from now on. The oldest make room.
    pub fn bound(&self, max_tlv_memory: u32) {
        self.memory().bound(in_bytes(max_tlv_memory));
    }

    /// Forgets a flow that has ended.
    pub fn forget(&self, key: &FlowKey) {
        self.memory().remove(key);
    }

    /// Whether the flow's header had TLVs and is so new that its event may still be on the way.
    #[must_use]
    pub fn awaits_tlvs(&self, key: &FlowKey, record: &FlowRecord) -> bool {
        let new = clock_gettime(ClockId::CLOCK_MONOTONIC).is_ok_and(|now| {
            let established = Duration::from_nanos(record.established_ns);
            Duration::from(now).saturating_sub(established) < Duration::from_secs(1)
        });
        new && record.has(FlowRecord::TLVS) && self.memory().get(key, record).is_none()
    }

    /// All that is known of an entry of the flow table.
    #[must_use]
    pub fn describe(&self, key: &FlowKey, record: &FlowRecord) -> Flow {
        flow(key, record, self.listener(key, record), self.tlvs(key, record))
    }

    /// What is known of an entry of the flow table beside the entry.
    pub fn with_known<T>(
        &self,
        key: &FlowKey,
        record: &FlowRecord,
        then: impl FnOnce(Known) -> T,
    ) -> T {
        let active = self.current.borrow();
        let listener = active.of_flow(record.listener, key.local.0.port());
        let listener = listener.map(|(_, listener)| &*listener.name);
        then(Known { listener, tlvs: self.tlvs(key, record).as_ref() })
    }

    /// The same of a flow that lives.
    #[must_use]
    pub fn live(&self, key: &FlowKey, record: &FlowRecord) -> LiveFlow {
        let established = format!("{:.3}", self.clock.time(record.established_ns));
        LiveFlow { flow: self.describe(key, record), established }
    }

    /// The clock for the times of flows.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The name of the flow's listener.
    #[must_use]
    pub fn listener(&self, key: &FlowKey, record: &FlowRecord) -> Option<String> {
        let active = self.current.borrow();
        let listener = active.of_flow(record.listener, key.local.0.port());
        listener.map(|(_, listener)| listener.name.clone())
    }

    fn tlvs(&self, key: &FlowKey, record: &FlowRecord) -> Option<TlvsJson> {
        if !record.has(FlowRecord::TLVS) {
            return None;
        }
        self.memory().get(key, record).and_then(tlvs::from_bytes)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Whoever panicked left the two maps at worst with an entry that is dropped later.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn in_bytes(mebibytes: u32) -> usize {
    (mebibytes as usize) << 20
}

/// What an entry takes beside its TLVs, in bytes: two keys, their numbers, the room that both maps keep free, and what
/// the allocator adds.
const PER_ENTRY: usize = 256;

/// Bounded; the oldest entries make room. Its keys are those of `order`.
///
/// Some entries stay until they are the oldest: no event comes for a connection that the stack never established, and
/// events may be lost.
#[derive(Debug)]
struct Memory {
    most_entries: usize,
    most_bytes: usize,
    /// Of all entries.
    bytes: usize,
    entries: HashMap<FlowKey, (u64, Remembered)>,
    order: BTreeMap<u64, FlowKey>,
    next: u64,
}

/// Raw bytes, as they are a fraction of the decoded form's size.
#[derive(Debug)]
struct Remembered {
    /// Tells flows of the same 4-tuple apart, should the end of the first be missed.
    handed_over_ns: u64,
    tlvs: Box<[u8]>,
}

impl Remembered {
    fn bytes(&self) -> usize {
        PER_ENTRY + self.tlvs.len()
    }
}

impl Memory {
    fn new(most_entries: usize, most_bytes: usize) -> Self {
        let (entries, order) = (HashMap::new(), BTreeMap::new());
        Self { most_entries, most_bytes, bytes: 0, entries, order, next: 0 }
    }

    fn insert(&mut self, key: FlowKey, remembered: Remembered) {
        self.remove(&key);
        let bytes = remembered.bytes();
        while self.entries.len() >= self.most_entries || self.bytes + bytes > self.most_bytes {
            if !self.remove_oldest() {
                break;
            }
        }
        self.bytes += bytes;
        self.entries.insert(key, (self.next, remembered));
        self.order.insert(self.next, key);
        self.next += 1;
    }

    fn bound(&mut self, most_bytes: usize) {
        self.most_bytes = most_bytes;
        while self.bytes > most_bytes && self.remove_oldest() {}
        self.entries.shrink_to_fit();
    }

    /// `false` if there is none.
    fn remove_oldest(&mut self) -> bool {
        let oldest = self.order.values().next().copied();
        if let Some(oldest) = oldest {
            self.remove(&oldest);
        }
        oldest.is_some()
    }

    fn remove(&mut self, key: &FlowKey) {
        if let Some((number, remembered)) = self.entries.remove(key) {
            self.order.remove(&number);
            self.bytes -= remembered.bytes();
        }
    }

    fn get(&self, key: &FlowKey, record: &FlowRecord) -> Option<&[u8]> {
        let (_, remembered) = self.entries.get(key)?;
        (remembered.handed_over_ns == record.handed_over_ns).then_some(&remembered.tlvs)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::SocketAddr;

    use proxyip_common::event::{Event, EventKind};

    use super::*;
    use crate::config::Config;
    use crate::desired::active::Active;

    /// A header from 203.0.113.9:51234 to 192.0.2.1:443 with the ALPN `h2`.
    pub(crate) const HEADER: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xcb\0\x71\x09\xc0\0\x02\x01\xc8\x22\x01\xbb\x01\0\x02h2";

    pub(crate) fn key(peer: &str) -> FlowKey {
        let peer: SocketAddr = peer.parse().unwrap();
        let local: SocketAddr = "10.0.1.2:443".parse().unwrap();
        FlowKey::new(1, peer.into(), local.into())
    }

    pub(crate) fn record() -> FlowRecord {
        let client: SocketAddr = "203.0.113.9:51234".parse().unwrap();
        let destination: SocketAddr = "192.0.2.1:443".parse().unwrap();
        FlowRecord {
            handed_over_ns: 4_000_000,
            established_ns: 5_000_000,
            client: client.into(),
            destination: destination.into(),
            header_length: u16::try_from(HEADER.len()).unwrap(),
            version: 2,
            origin: 1,
            flags: FlowRecord::TLVS,
            hand_off: 2,
            ..FlowRecord::EMPTY
        }
    }

    /// Of a connection from 203.0.113.9:51234 by way of 10.0.0.2:41000 to 10.0.1.2:443.
    pub(crate) fn event(kind: EventKind, reason: u8) -> Event {
        Event {
            time_ns: 1_005_999_999,
            bytes_received: 100,
            bytes_sent: 2000,
            packets_received: 3,
            packets_sent: 4,
            key: key("10.0.0.2:41000"),
            record: record(),
            kind: kind as u8,
            reason,
            header_length: 0,
            reserved: [0; 4],
        }
    }

    pub(crate) fn flows() -> Flows {
        let mut config =
            Config::from_toml("[[listener]]\nname='web'\nports=[443]\ntrusted=['10.0.0.0/8']\n")
                .unwrap();
        config.agent.max_flows = 2;
        Flows::new(Active::constant(config))
    }

    #[test]
    fn tlvs_are_joined_until_the_flow_ends() {
        let (flows, key) = (flows(), key("10.0.0.2:41000"));
        assert_eq!(flows.describe(&key, &record()).tlvs, None);
        flows.remember(key, &record(), HEADER).unwrap();
        let flow = flows.describe(&key, &record());
        assert_eq!(flow.tlvs.unwrap().alpn.as_deref(), Some("h2"));
        assert_eq!(flow.listener.as_deref(), Some("web"));
        assert_eq!(flow.hand_off, "translate");
        flows.forget(&key);
        assert_eq!(flows.describe(&key, &record()).tlvs, None);
    }

    /// The kernel programs send no more of it.
    #[test]
    fn of_a_long_header_the_whole_tlvs_at_its_beginning_are_kept() {
        let mut bytes = [HEADER, &[0xe4, 0x20, 0], &[0; 0x2000]].concat();
        let length = u16::try_from(bytes.len() - header::v2::FIXED_LENGTH).unwrap();
        bytes[14..16].copy_from_slice(&length.to_be_bytes());
        bytes.truncate(header::MAX_LENGTH);
        let (flows, key) = (flows(), key("10.0.0.2:41000"));
        flows.remember(key, &record(), &bytes).unwrap();
        let tlvs = flows.describe(&key, &record()).tlvs.unwrap();
        assert_eq!((tlvs.alpn.as_deref(), tlvs.other.len()), (Some("h2"), 0));
    }

    #[test]
    fn tlvs_of_an_earlier_flow_of_the_same_tuple_are_not_shown() {
        let (flows, key) = (flows(), key("10.0.0.2:41000"));
        flows.remember(key, &record(), HEADER).unwrap();
        let later = FlowRecord { handed_over_ns: 9_000_000, ..record() };
        assert_eq!(flows.describe(&key, &later).tlvs, None);
    }

    #[test]
    fn the_oldest_entry_makes_room() {
        let flows = flows();
        let keys = ["10.0.0.2:1", "10.0.0.2:2", "10.0.0.2:3"].map(key);
        for key in [keys[0], keys[1], keys[0], keys[2]] {
            flows.remember(key, &record(), HEADER).unwrap();
        }
        let known = keys.map(|key| flows.describe(&key, &record()).tlvs.is_some());
        assert_eq!(known, [true, false, true]);
        let memory = flows.memory();
        assert_eq!((memory.entries.len(), memory.order.len()), (2, 2));
    }

    #[test]
    fn long_tlvs_push_out_several_entries() {
        const ROOM: usize = 3 * PER_ENTRY + 1000;
        let mut memory = Memory::new(4, ROOM);
        let ports = [("10.0.0.2:1", 100), ("10.0.0.2:2", 300), ("10.0.0.2:3", 600)];
        let insert = |memory: &mut Memory, (peer, length)| {
            let tlvs = vec![0; length].into();
            memory.insert(key(peer), Remembered { handed_over_ns: 1, tlvs });
        };
        for (peer, length) in ports {
            insert(&mut memory, (peer, length));
        }
        assert_eq!((memory.entries.len(), memory.bytes), (3, ROOM));
        insert(&mut memory, ("10.0.0.2:4", 145));
        assert_eq!((memory.entries.len(), memory.order.len()), (2, 2));
        assert_eq!(memory.bytes, 2 * PER_ENTRY + 745);
        memory.remove(&key("10.0.0.2:3"));
        memory.remove(&key("10.0.0.2:4"));
        assert_eq!((memory.entries.len(), memory.bytes), (0, 0));
    }

    #[test]
    fn a_large_flow_table_does_not_make_the_memory_larger() {
        let mut memory = Memory::new(16_777_216, 1 << 20);
        for port in 1..=10_000 {
            let key = key(&format!("10.0.0.2:{port}"));
            memory.insert(key, Remembered { handed_over_ns: 1, tlvs: vec![0; 64].into() });
            assert!(memory.bytes <= 1 << 20);
        }
        assert_eq!(memory.entries.len(), (1 << 20) / (PER_ENTRY + 64));
    }

    #[test]
    fn another_bound_holds_at_once() {
        let flows = flows();
        let keys = ["10.0.0.2:1", "10.0.0.2:2"].map(key);
        for key in keys {
            flows.remember(key, &record(), HEADER).unwrap();
        }
        let one = flows.memory().bytes / 2;
        flows.memory().bound(one);
        let known = keys.map(|key| flows.describe(&key, &record()).tlvs.is_some());
        assert_eq!((known, flows.memory().bytes), ([false, true], one));
        flows.bound(1);
        flows.remember(keys[0], &record(), HEADER).unwrap();
        assert_eq!(flows.memory().bytes, 2 * one);
    }

    #[test]
    fn bytes_that_are_no_header_are_refused() {
        assert_eq!(
            flows().remember(key("10.0.0.2:1"), &record(), &HEADER[..20]),
            Err(HeaderError::Incomplete)
        );
    }
}
