//! Every map, in one file. All are pinned by name; see `docs/architecture.md` for who writes which.

use aya_ebpf::{
    Global,
    btf_maps::{Array, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SkStorage},
    macros::btf_map,
};
use proxyip_common::{
    cookie::{Options as Agreed, SECRETS as SECRET_SLOTS, Secret},
    counter::{Counter, DropReason, KernelReason},
    event::Event,
    flow::{FlowKey, FlowRecord},
    header::{Header, Memory},
    settings::{ListenerSettings, MAX_LISTENERS, MAX_NAMESPACES, NamespaceSettings, ScopedAddress},
};

use crate::{
    header,
    intact::Summing,
    options::{self, Options},
    reply::Frame,
};

/// Which entry of [`NAMESPACES`] belongs to this instance of the program; set before loading.
#[unsafe(no_mangle)]
pub static NAMESPACE: Global<u32> = Global::new(0);

/// Settings of each network namespace served.
#[btf_map]
pub static NAMESPACES: Array<NamespaceSettings, { MAX_NAMESPACES as usize }> = Array::new();

/// Local port (host order) to the index of its listener plus one; 0 where no listener guards the port.
#[btf_map]
pub static PORTS: Array<u16, 65536> = Array::new();

/// Settings of each listener.
#[btf_map]
pub static LISTENERS: Array<ListenerSettings, { MAX_LISTENERS as usize }> = Array::new();

/// Sources by listener: 1 for those it trusts, 0 for exceptions within them.
#[btf_map]
pub static TRUSTED: LpmTrie<ScopedAddress, u8, 1_048_576> = LpmTrie::new();

/// Advertised MSS by namespace and destination, host order; 0 for routes that have none of their own.
#[btf_map]
pub static ROUTES: LpmTrie<ScopedAddress, u16, 65536> = LpmTrie::new();

/// Secrets of the cookie by epoch.
#[btf_map]
pub static SECRETS: Array<Secret, { SECRET_SLOTS as usize }> = Array::new();

/// The flow table. Eviction takes a flow from lookups, never from its application: see [`SOCKETS`].
#[btf_map]
pub static FLOWS: LruHashMap<FlowKey, FlowRecord, 262_144> = LruHashMap::new();

/// The record of each established socket; freed by the kernel with the socket.
#[btf_map]
pub static SOCKETS: SkStorage<FlowRecord> = SkStorage::new();

/// Bytes of the ring buffer: some 26,000 events, a second's worth of a busy node.
pub const EVENTS_SIZE: usize = 4 << 20;

/// What the agent is told.
#[btf_map]
pub static EVENTS: RingBuf<Event, EVENTS_SIZE> = RingBuf::new();

/// By [`Counter`].
#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { Counter::COUNT as usize }> = PerCpuArray::new();

/// By [`DropReason`].
#[btf_map]
pub static DROPS: PerCpuArray<u64, { DropReason::COUNT as usize }> = PerCpuArray::new();

/// By [`KernelReason`].
#[btf_map]
pub static LEFT_TO_KERNEL: PerCpuArray<u64, { KernelReason::COUNT as usize }> = PerCpuArray::new();

/// Working memory of the ingress program for one segment: the stack holds 512 bytes only. A softirq is
/// not interrupted by another on the same CPU.
#[repr(C)]
pub struct Scratch {
    /// The flow's key and record, and with them the event that tells of it.
    pub event: Event,
    /// The bytes of the header.
    pub header: header::Bytes,
    /// How many of them there are.
    pub loaded: usize,
    /// The header, read.
    pub parsed: Header,
    /// Of the header's parsers.
    pub memory: Memory,
    /// What has been summed of the segment.
    pub summing: Summing,
    /// The segment's TCP options as bytes.
    pub options: options::Buffer,
    /// How many of those bytes count.
    pub options_length: usize,
    /// The option being read.
    pub cursor: usize,
    /// The options, read.
    pub received: Options,
    /// What the segment's cookie held.
    pub agreed: Agreed,
    /// The frame of an answer.
    pub frame: Frame,
}

/// One [`Scratch`] for each CPU.
#[btf_map]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// The working memory of this CPU.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the value is this CPU's own, zeroed by the kernel, valid for every bit pattern, and taken
    // once for each run of the program.
    Some(unsafe { &mut *scratch })
}
