//! Reading the flow table and the counters.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::{Ebpf, Pod};
use proxyip_common::address::{Local, Peer};
use proxyip_common::counter::{Counter, DropReason, Obstacle};
use proxyip_common::flow::{FlowKey, FlowRecord};
use proxyip_common::lookup::SLOTS;

use super::owners::{Claim, Readable};
pub use crate::bpf::buckets::Cursor;
use crate::bpf::buckets::{Buckets, Chunk};
use crate::bpf::lookups::{Lookups, WORTH};
use crate::bpf::pins::map_directory;
use crate::bpf::pod::Raw;
use crate::host::served::Served;

type Table = HashMap<MapData, Raw<FlowKey>, Raw<FlowRecord>>;

/// The flow table.
#[derive(Clone, Debug)]
pub struct FlowMap {
    map: Arc<Readable<Table>>,
    buckets: Arc<Buckets<Raw<FlowKey>, Raw<FlowRecord>>>,
    capacity: u32,
    served: Served,
    lookups: Lookups,
}

/// A part of the flow table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowChunk {
    /// Established flows.
    pub flows: Vec<(FlowKey, FlowRecord)>,
    /// Where to go on; `None` at the table's end.
    pub next: Option<Cursor>,
}

impl FlowMap {
    pub(crate) fn new(ebpf: &mut Ebpf, served: Served, lookups: Lookups) -> Result<Self> {
        let map = ebpf.map("FLOWS").context("the kernel object has no map FLOWS")?;
        let Map::LruHashMap(data) = map else { bail!("map FLOWS is of another kind") };
        let buckets = Buckets::new(data.fd().as_fd())?;
        let capacity = data.info()?.max_entries();
        Ok(Self {
            buckets: Arc::new(buckets),
            capacity,
            map: Arc::new(take(ebpf, "FLOWS")?),
            served,
            lookups,
        })
    }

    /// How many entries it can have.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity.into()
    }

    /// The established flow of this 4-tuple, in any namespace.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn get(
        &self,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Result<Option<(FlowKey, FlowRecord)>> {
        for member in self.served.now().iter() {
            let namespace = member.entrance.cookie();
            let key = FlowKey::new(namespace, Peer::from(peer), Local::from(local));
            match self.map.get(&Raw(key), 0) {
                Ok(Raw(record)) if record.established_ns != 0 => return Ok(Some((key, record))),
                Ok(_) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error).context("the flow table cannot be read"),
            }
        }
        Ok(None)
    }

    /// The clients of these peers' and local ends, as [`FlowMap::get`] finds them.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn clients(&self, ends: &[(SocketAddr, SocketAddr)]) -> Result<Vec<Option<SocketAddr>>> {
        if ends.len() < WORTH {
            let client = |record: FlowRecord| record.client.0.to_socket_addr();
            let get = |(peer, local): &(SocketAddr, SocketAddr)| {
                Ok(self.get(*peer, *local)?.map(|(_, record)| client(record)))
            };
            return ends.iter().map(get).collect();
        }
        let mut clients = vec![None; ends.len()];
        for member in self.served.now().iter() {
            let namespace = member.entrance.cookie();
            for (ends, clients) in ends.chunks(SLOTS).zip(clients.chunks_mut(SLOTS)) {
                let found = self.lookups.clients(namespace, ends)?;
                for (client, found) in clients.iter_mut().zip(found) {
                    *client = client.or(found);
                }
            }
        }
        Ok(clients)
    }

    /// The established flows among about `about` entries from `from` on. Flows that stay in the table come once, even
    /// if others come and go.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn chunk(&self, from: Cursor, about: usize) -> Result<FlowChunk> {
        let Chunk { keys, values, next } =
            self.buckets.read(from, about).context("the flow table cannot be read")?;
        let entries = keys.into_iter().zip(values).map(|(Raw(key), Raw(record))| (key, record));
        let flows = entries.filter(|(_, record)| record.established_ns != 0).collect();
        Ok(FlowChunk { flows, next })
    }

    /// All established flows.
    pub(crate) fn all(&self) -> impl Iterator<Item = Result<(FlowKey, FlowRecord)>> {
        self.buckets.entries().filter_map(|entry| match entry {
            Ok((_, Raw(record))) if record.established_ns == 0 => None,
            Ok((Raw(key), Raw(record))) => Some(Ok((key, record))),
            Err(error) => Some(Err(error).context("the flow table cannot be read")),
        })
    }

    /// Flows that were handed over to TCP, established or not.
    pub(crate) fn handed_over(&self) -> impl Iterator<Item = Result<(FlowKey, FlowRecord)>> {
        self.buckets.entries().map(|entry| match entry {
            Ok((Raw(key), Raw(record))) => Ok((key, record)),
            Err(error) => Err(error).context("the flow table cannot be read"),
        })
    }

    /// How many established flows there are.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn count(&self) -> Result<u64> {
        self.all().try_fold(0, |count, flow| flow.map(|_| count + 1))
    }
}

/// Counters.
pub(crate) type PerCpu = Readable<PerCpuArray<MapData, u64>>;

/// The counters, summed over all CPUs.
#[derive(Clone)]
pub struct CounterMap {
    counters: Arc<PerCpu>,
    drops: Arc<PerCpu>,
    drops_by_agent: Arc<Readable<Array<MapData, u64>>>,
    left_to_kernel: Arc<PerCpu>,
}

impl CounterMap {
    pub(crate) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            counters: Arc::new(take(ebpf, "COUNTERS")?),
            drops: Arc::new(take(ebpf, "DROPS")?),
            drops_by_agent: Arc::new(take(ebpf, "DROPS_BY_AGENT")?),
            left_to_kernel: Arc::new(take(ebpf, "LEFT_TO_KERNEL")?),
        })
    }

    /// What happened, other than drops.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        read(&self.counters, Counter::ALL, |counter| *counter as u32)
    }

    /// Refusals by reason.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn drops(&self) -> Result<Vec<(DropReason, u64)>> {
        let mut drops = read(&self.drops, DropReason::ALL, |reason| *reason as u32)?;
        for (reason, count) in &mut drops {
            let by_agent = self.drops_by_agent.get(&(*reason as u32), 0);
            *count += by_agent.context("the counters cannot be read")?;
        }
        Ok(drops)
    }

    /// Connections left to the kernel by reason.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn left_to_kernel(&self) -> Result<Vec<(Obstacle, u64)>> {
        read(&self.left_to_kernel, Obstacle::ALL, |reason| *reason as u32)
    }

    /// One counter.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn counter(&self, counter: Counter) -> Result<u64> {
        sum(&self.counters, counter as u32)
    }
}

fn read<T: Copy>(map: &PerCpu, all: &[T], index: impl Fn(&T) -> u32) -> Result<Vec<(T, u64)>> {
    all.iter().map(|item| Ok((*item, sum(map, index(item))?))).collect()
}

/// One counter, summed over all CPUs.
pub(crate) fn sum(map: &PerCpu, index: u32) -> Result<u64> {
    let values = map.get(&index, 0).context("the counters cannot be read")?;
    Ok(values.iter().sum())
}

/// Takes a map out of the loaded object, typed, for reading.
pub(crate) fn take<T>(ebpf: &mut Ebpf, name: &str) -> Result<Readable<T>>
where
    T: TryFrom<Map, Error = MapError>,
{
    taken(ebpf, name).map(Readable::new)
}

/// Takes a map out of the loaded object, typed, for its owner.
pub(crate) fn take_owned<T>(ebpf: &mut Ebpf, claim: &Claim) -> Result<T>
where
    T: TryFrom<Map, Error = MapError>,
{
    taken(ebpf, claim.map())
}

/// Takes a ring buffer out of the loaded object. Its only reader moves on in it.
pub(super) fn take_ring(ebpf: &mut Ebpf, name: &str) -> Result<RingBuf<MapData>> {
    taken(ebpf, name)
}

fn taken<T>(ebpf: &mut Ebpf, name: &str) -> Result<T>
where
    T: TryFrom<Map, Error = MapError>,
{
    let map =
        ebpf.take_map(name).with_context(|| format!("the kernel object has no map {name}"))?;
    T::try_from(map).with_context(|| format!("map {name} is of another kind"))
}

/// Opens a map by its pin, typed, for reading: for callers that need a second handle beside the one taken out of the
/// object.
pub(crate) fn open<T>(pin_path: &Path, name: &str) -> Result<Readable<T>>
where
    T: TryFrom<Map, Error = MapError>,
{
    open_in(&map_directory(pin_path), name)
}

/// As [`open`], in a directory of maps of any layout.
pub(crate) fn open_in<T>(directory: &Path, name: &str) -> Result<Readable<T>>
where
    T: TryFrom<Map, Error = MapError>,
{
    opened(directory, name).map(Readable::new)
}

/// Opens a map by its pin, typed, for its owner.
pub(crate) fn open_owned<T>(pin_path: &Path, claim: &Claim) -> Result<T>
where
    T: TryFrom<Map, Error = MapError>,
{
    open_owned_in(&map_directory(pin_path), claim)
}

/// As [`open_owned`], in a directory of maps of any layout.
pub(crate) fn open_owned_in<T>(directory: &Path, claim: &Claim) -> Result<T>
where
    T: TryFrom<Map, Error = MapError>,
{
    opened(directory, claim.map())
}

fn opened<T>(directory: &Path, name: &str) -> Result<T>
where
    T: TryFrom<Map, Error = MapError>,
{
    let pin = directory.join(name);
    let map = MapData::from_pin(&pin).and_then(Map::from_map_data);
    let map = map.with_context(|| format!("{} cannot be opened", pin.display()))?;
    T::try_from(map).with_context(|| format!("map {name} is of another kind"))
}

/// The entries of a hash table by its pin, to be read by the bucket.
pub(crate) fn buckets<K, V>(pin_path: &Path, name: &str) -> Result<Buckets<Raw<K>, Raw<V>>>
where
    Raw<K>: Pod,
    Raw<V>: Pod,
{
    buckets_in(&map_directory(pin_path), name)
}

/// As [`buckets`], in a directory of maps of any layout.
pub(crate) fn buckets_in<K, V>(directory: &Path, name: &str) -> Result<Buckets<Raw<K>, Raw<V>>>
where
    Raw<K>: Pod,
    Raw<V>: Pod,
{
    let pin = directory.join(name);
    let context = || format!("{} cannot be opened", pin.display());
    let map = MapData::from_pin(&pin).with_context(context)?;
    Buckets::new(map.fd().as_fd()).with_context(context)
}

/// Whether an error says that there is no entry with this key.
pub(crate) fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound => true,
        MapError::SyscallError(error) => error.io_error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Removes an entry. It is no error if the entry has already gone.
pub(crate) fn remove<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    key: &K,
) -> Result<(), MapError> {
    match map.remove(key) {
        Err(error) if is_missing(&error) => Ok(()),
        result => result,
    }
}
