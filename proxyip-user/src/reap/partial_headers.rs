//! Headers that were begun and never completed. The agent removes the stored bytes and resets the connections.
//!
//! The kernel programs refuse the connection at its next segment. The agent ends a connection that sends nothing
//! more.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::{Array, MapData, MapError};
use proxyip_common::counter::{DropReason, per_listener};
use proxyip_common::event::{Event, EventKind};
use proxyip_common::flow::{FlowKey, FlowRecord, HandOff};
use proxyip_common::partial::{HeaderBytes, PartialHeader};

use super::destroy::Destroyer;
use super::reset::Resets;
use crate::bpf::attached;
use crate::bpf::buckets::{Buckets, Chunk};
use crate::bpf::pod::Raw;
use crate::clock::now_ns;
use crate::desired::active::Current;
use crate::host::served::{Member, Served};
use crate::tables::maps::{buckets, buckets_in, is_missing, open, open_owned, remove};
use crate::tables::owners::{Readable, claim};

/// How many entries are read, and their connections ended, at a time.
const AT_A_TIME: usize = 1024;

/// How long an entry may still be of use after it is done. If the header is complete, the peer may still be trying to
/// get into a full accept queue. If the connection is reset, the peer may have missed the RST.
const OVER: Duration = Duration::from_mins(2);

/// Only if there is an entry (`BPF_EXIST`).
const EXISTING: u64 = 2;

const UNREADABLE: &str = "the headers begun cannot be read";
const UNWRITABLE: &str = "the headers begun cannot be written";

/// Something of each flow.
type Table<V> = aya::maps::HashMap<MapData, Raw<FlowKey>, Raw<V>>;

/// Looks for headers that are late.
pub(crate) struct PartialHeaders {
    in_use: Readable<Array<MapData, u32>>,
    table: Table<PartialHeader>,
    buckets: Buckets<Raw<FlowKey>, Raw<PartialHeader>>,
    bytes: Table<HeaderBytes>,
    flows: Readable<Table<FlowRecord>>,
    /// By reason, and by listener and hand-off.
    drops: Array<MapData, u64>,
    refused: Array<MapData, u64>,
    current: Current,
    served: Served,
}

impl PartialHeaders {
    pub(crate) fn open(pin_path: &Path, current: Current, served: Served) -> Result<Self> {
        Ok(Self {
            in_use: open(pin_path, "IN_USE")?,
            table: open_owned(pin_path, &claim!("PARTIAL_HEADERS"))?,
            buckets: buckets(pin_path, "PARTIAL_HEADERS")?,
            bytes: open_owned(pin_path, &claim!("HEADER_BYTES"))?,
            flows: open(pin_path, "FLOWS")?,
            drops: open_owned(pin_path, &claim!("DROPS_BY_AGENT"))?,
            refused: open_owned(pin_path, &claim!("REFUSED_BY_AGENT"))?,
            current,
            served,
        })
    }

    /// Ends connections with a late header. `tell` gets an event for each.
    pub(crate) fn check(&mut self, mut tell: impl FnMut(&Event)) -> Result<()> {
        /// The place of these tables in `IN_USE`.
        const SPLIT: u32 = 1;
        if self.in_use.get(&SPLIT, 0).context(UNREADABLE)? == 0 {
            return Ok(());
        }
        let now_ns = now_ns()?;
        let active = Arc::clone(&self.current.borrow());
        let timeouts: HashMap<_, _> =
            active.listeners().map(|(place, listener)| (place, listener.header_timeout)).collect();
        let mut from = Some(0);
        while let Some(cursor) = from {
            let chunk = self.buckets.read(cursor, AT_A_TIME).context(UNREADABLE)?;
            from = chunk.next;
            let late = entries(chunk).filter(|(_, header)| is_late(header, &timeouts, now_ns));
            let mut ended = Vec::new();
            for (key, header) in late {
                if self.is_over(&key, &header) {
                    self.remove(&key, &header)?;
                } else if self.refuse(&key, &header)? {
                    self.count(&header)?;
                    tell(&refusal(key, &header, now_ns));
                    ended.push((key, header));
                }
            }
            end_in_all(&self.served, &ended);
        }
        Ok(())
    }

    /// Whether there is nothing to end: the header was completed, in parts or by one segment, or its connection was
    /// reset.
    fn is_over(&self, key: &FlowKey, header: &PartialHeader) -> bool {
        let record = self.flows.get(&Raw(*key), 0);
        header.state != PartialHeader::OPEN
            || matches!(record, Ok(Raw(record)) if
                record.established_ns != 0 || record.handed_over_ns >= header.since_ns)
    }

    fn remove(&mut self, key: &FlowKey, seen: &PartialHeader) -> Result<()> {
        if self.is_there(key, seen)? {
            remove(&mut self.table, &Raw(*key))
                .and_then(|()| remove(&mut self.bytes, &Raw(*key)))
                .context(UNWRITABLE)?;
        }
        Ok(())
    }

    /// Marks the header as refused, so that its later bytes are refused. False if it has ended meanwhile, or another
    /// has begun.
    fn refuse(&mut self, key: &FlowKey, seen: &PartialHeader) -> Result<bool> {
        if !self.is_there(key, seen)? {
            return Ok(false);
        }
        let refused = PartialHeader { state: PartialHeader::REFUSED, ..*seen };
        match self.table.insert(Raw(*key), Raw(refused), EXISTING) {
            Ok(()) => {}
            Err(error) if is_missing(&error) => return Ok(false),
            Err(error) => return Err(error).context(UNWRITABLE),
        }
        if self.is_over(key, seen) {
            // Completed in between: what it had become was overwritten.
            let complete = PartialHeader { state: PartialHeader::COMPLETE, ..*seen };
            return match self.table.insert(Raw(*key), Raw(complete), EXISTING) {
                Err(error) if !is_missing(&error) => Err(error).context(UNWRITABLE),
                _ => Ok(false),
            };
        }
        remove(&mut self.bytes, &Raw(*key)).context(UNWRITABLE)?;
        Ok(true)
    }

    fn is_there(&self, key: &FlowKey, seen: &PartialHeader) -> Result<bool> {
        match self.table.get(&Raw(*key), 0) {
            Ok(Raw(header)) => Ok(header == *seen),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(error).context(UNREADABLE),
        }
    }

    fn count(&mut self, header: &PartialHeader) -> Result<()> {
        increment(&mut self.drops, DropReason::HeaderTimeout as u32)?;
        increment(
            &mut self.refused,
            per_listener::refused_by_agent(header.listener, header.hand_off),
        )
    }
}

fn entries(
    chunk: Chunk<Raw<FlowKey>, Raw<PartialHeader>>,
) -> impl Iterator<Item = (FlowKey, PartialHeader)> {
    let entries = chunk.keys.into_iter().zip(chunk.values);
    entries.map(|(Raw(key), Raw(header))| (key, header))
}

fn increment(counters: &mut Array<MapData, u64>, index: u32) -> Result<()> {
    let count = counters.get(&index, 0).context("the counters cannot be read")?;
    counters.set(index, count + 1, 0).context("the counters cannot be written")
}

/// A connection with a begun header.
type Begun = (FlowKey, PartialHeader);

fn end_in_all(served: &Served, connections: &[Begun]) {
    for Member { entrance, .. } in served.now().iter() {
        let here = within(connections, entrance.cookie());
        if !here.is_empty() {
            warn_of(entrance.run_if_there(|| end_all(&here)).map(drop));
        }
    }
}

fn within(connections: &[Begun], namespace: u64) -> Vec<&Begun> {
    connections.iter().filter(|(key, _)| key.namespace == namespace).collect()
}

/// Ends connections of the calling thread's namespace, at their peers' ends and in the kernel.
fn end_all(connections: &[&Begun]) -> Result<()> {
    let mut ends = Ends { destroyer: Destroyer::open()?, resets: Resets::default() };
    let failures = connections.iter().filter_map(|(key, header)| ends.end(key, header).err());
    failures.reduce(|first, _| first).map_or(Ok(()), |error| Err(error.into()))
}

fn warn_of(ended: Result<()>) {
    if let Err(error) = ended {
        tracing::warn!("not every peer could be told that its connection is reset: {error:#}");
    }
}

/// Ends the connections with a begun header. Without this the kernel would let them continue.
/// `maps` is where the maps are pinned.
pub(crate) fn end_begun(pin_path: &Path, maps: &Path) -> Result<()> {
    let table = buckets_in::<FlowKey, PartialHeader>(maps, "PARTIAL_HEADERS")?;
    let begun = table.entries().filter_map(Result::ok);
    let begun = begun.map(|(Raw(key), Raw(header))| (key, header));
    let begun: Vec<_> = begun.filter(|(_, header)| header.state == PartialHeader::OPEN).collect();
    let cookies: BTreeSet<_> = begun.iter().map(|(key, _)| key.namespace).collect();
    for cookie in cookies {
        if let Some(namespace) = attached::namespace(pin_path, cookie) {
            warn_of(namespace.run(|| end_all(&within(&begun, cookie))));
        }
    }
    Ok(())
}

/// What ends the connections of the calling thread's namespace.
struct Ends {
    destroyer: Destroyer,
    resets: Resets,
}

impl Ends {
    fn end(&mut self, key: &FlowKey, header: &PartialHeader) -> io::Result<()> {
        // Under accept the kernel has no socket of the connection.
        if header.hand_off != HandOff::Accept as u8
            && let Err(error) = self.destroyer.destroy(key)
        {
            tracing::debug!("the socket of {} stays: {error}", key.peer);
        }
        self.resets.send(key, header.expected)
    }
}

fn is_late(header: &PartialHeader, timeouts: &HashMap<u16, Duration>, now_ns: u64) -> bool {
    let age = Duration::from_nanos(now_ns.saturating_sub(header.since_ns));
    let timeout = match timeouts.get(&header.listener) {
        _ if header.state != PartialHeader::OPEN => OVER,
        Some(timeout) => *timeout,
        None => Duration::ZERO,
    };
    age > timeout
}

fn refusal(key: FlowKey, header: &PartialHeader, time_ns: u64) -> Event {
    let record =
        FlowRecord { listener: header.listener, hand_off: header.hand_off, ..FlowRecord::EMPTY };
    Event {
        time_ns,
        bytes_received: 0,
        bytes_sent: 0,
        packets_received: 0,
        packets_sent: 0,
        key,
        record,
        kind: EventKind::Refused as u8,
        reason: DropReason::HeaderTimeout as u8,
        header_length: 0,
        reserved: [0; 4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(listener: u16, state: u8) -> PartialHeader {
        PartialHeader {
            since_ns: 1_000_000_000_000,
            isn: 0,
            expected: 0,
            listener,
            hand_off: HandOff::Accept as u8,
            state,
            reserved: [0; 4],
        }
    }

    #[test]
    fn headers_are_late_by_their_listeners_timeouts() {
        let timeouts = HashMap::from(
            [(0, 5), (1, 20)].map(|(place, seconds)| (place, Duration::from_secs(seconds))),
        );
        for (listener, state, seconds, late) in [
            (0, 0, 4, false),
            (0, 0, 6, true),
            (1, 0, 6, false),
            (1, 0, 21, true),
            (0, 1, 100, false),
            (0, 1, 121, true),
            // A listener that the configuration has no longer.
            (2, 0, 1, true),
        ] {
            let now_ns = 1_000_000_000_000 + seconds * 1_000_000_000;
            let got = is_late(&header(listener, state), &timeouts, now_ns);
            assert_eq!(got, late, "listener {listener}, state {state}, {seconds} s");
        }
    }

    #[test]
    fn a_header_newer_than_the_look_at_the_clock_is_not_late() {
        assert!(!is_late(&header(0, 0), &HashMap::from([(0, Duration::from_secs(5))]), 1));
    }
}
