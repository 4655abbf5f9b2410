//! Every map, in one file. All are pinned by name; see `docs/architecture.md` for who writes which.

use core::hint::black_box;

use proxyip_common::{
    cookie::{Options as Agreed, SECRETS as SECRET_SLOTS, Secret},
    counter::{Counter, DropReason, Reason, per_listener},
    event::Event,
    flow::{FlowKey, FlowRecord, Handshake, Translation},
    header::Parser,
    partial::{HeaderBytes, PartialHeader},
    settings::{
        ListenerSettings, MAX_LISTENERS, MAX_NAMESPACES, MAX_NETWORKS, MAX_SETS, Name,
        NamespaceSettings, Policy, ScopedAddress,
    },
};

use crate::{
    header,
    intact::Summing,
    kernel::{
        Global,
        bindings::BPF_F_NO_PREALLOC,
        btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SkStorage},
        macros::btf_map,
    },
    options::{self, Options},
    packet::Segment,
    reply::Frame,
    socket::State,
};

/// Whether `bpf_get_netns_cookie()` works in socket programs (Linux 5.15); set before loading.
#[unsafe(no_mangle)]
pub static HAS_NETNS_COOKIE: Global<u8> = Global::new(1);

/// Which entry of [`NAMESPACES`] belongs to this instance of the program; set before loading.
#[unsafe(no_mangle)]
pub static NAMESPACE: Global<u32> = Global::new(0);

/// Which entry of [`SETS`] the program for rules of iptables looks in; set before loading.
#[unsafe(no_mangle)]
pub static SET: Global<u32> = Global::new(0);

/// Settings of each network namespace served.
#[btf_map]
pub static NAMESPACES: Array<NamespaceSettings, { MAX_NAMESPACES as usize }> = Array::new();

/// Local port (host order) to the index of its listener plus one; 0 where no listener guards the port.
#[btf_map]
pub static PORTS: Array<u16, 65536> = Array::new();

/// Settings of each listener.
#[btf_map]
pub static LISTENERS: Array<ListenerSettings, { MAX_LISTENERS as usize }> = Array::new();

/// Who may connect, by listener. An element is replaced as a whole, and freed when nobody can have it.
#[btf_map]
pub static POLICIES: HashMap<
    u32,
    Policy,
    { MAX_LISTENERS as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

/// Names of the listeners, for the agent.
#[btf_map]
pub static LISTENER_NAMES: Array<Name, { MAX_LISTENERS as usize }> = Array::new();

/// Sources by scope: 1 for those that are trusted, 0 for exceptions within them.
#[btf_map]
pub static TRUSTED: LpmTrie<ScopedAddress, u8, { MAX_NETWORKS as usize }> = LpmTrie::new();

/// Clients by scope: a [`verdict`](proxyip_common::settings::verdict) on each network.
#[btf_map]
pub static CLIENTS: LpmTrie<ScopedAddress, u8, { MAX_NETWORKS as usize }> = LpmTrie::new();

/// The scopes of named sets in [`CLIENTS`], host order; replaced like policies.
#[btf_map]
pub static SETS: HashMap<u32, u32, { MAX_SETS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Names of the sets, for the agent.
#[btf_map]
pub static SET_NAMES: Array<Name, { MAX_SETS as usize }> = Array::new();

/// Advertised MSS by namespace and destination, host order; 0 for routes that have none of their own.
#[btf_map]
pub static ROUTES: LpmTrie<ScopedAddress, u16, 65536> = LpmTrie::new();

/// Secrets of the cookie by epoch.
#[btf_map]
pub static SECRETS: Array<Secret, { SECRET_SLOTS as usize }> = Array::new();

/// The flow table. Eviction takes a flow from lookups, never from its application: see [`SOCKETS`].
#[btf_map]
pub static FLOWS: LruHashMap<FlowKey, FlowRecord, 262_144> = LruHashMap::new();

/// Handshakes that the kernel does itself. Under a flood of SYNs the oldest make room: their connections are
/// reset when their header comes.
#[btf_map]
pub static HANDSHAKES: LruHashMap<FlowKey, Handshake, 65_536> = LruHashMap::new();

/// Connections whose sequence numbers are translated. An entry is vital for its connection and is never evicted:
/// when the table is full, new connections are refused.
#[btf_map]
pub static TRANSLATIONS: HashMap<FlowKey, Translation, 262_144, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Headers that have begun and are not complete. Under a flood of such old ones make room, though not in their exact
/// order: what a processor has inserted last stays with it. The sizes of these two are the least; the agent makes them
/// larger on hosts with many processors.
#[btf_map]
pub static PARTIAL_HEADERS: LruHashMap<FlowKey, PartialHeader, 16_384> = LruHashMap::new();

/// The bytes of the latest of them.
#[btf_map]
pub static HEADER_BYTES: LruHashMap<FlowKey, HeaderBytes, 1024> = LruHashMap::new();

/// Connections whose segments are dropped because their client is denied, by the peer's initial sequence number: of
/// each the first is told of.
#[btf_map]
pub static DROPPED: LruHashMap<FlowKey, u32, 16_384> = LruHashMap::new();

/// Whether tables have ever had an entry, by [`in_use`]; until then nobody need look there.
#[btf_map]
pub static IN_USE: Array<u32, { in_use::COUNT }> = Array::new();

/// Indexes of [`IN_USE`].
pub mod in_use {
    /// [`HANDSHAKES`](super::HANDSHAKES) and [`TRANSLATIONS`](super::TRANSLATIONS).
    pub const TRANSLATE: u32 = 0;
    /// [`PARTIAL_HEADERS`](super::PARTIAL_HEADERS) and [`HEADER_BYTES`](super::HEADER_BYTES).
    pub const SPLIT: u32 = 1;
    /// How many there are.
    pub const COUNT: usize = 2;
}

/// Whether the tables, one of [`in_use`], have ever had an entry.
#[inline(always)]
pub fn is_used(tables: u32) -> bool {
    IN_USE.get(tables).is_some_and(|used| *used != 0)
}

/// Notes that the tables are about to have an entry.
#[inline(always)]
pub fn set_used(tables: u32) {
    if let Some(used) = IN_USE.get_ptr_mut(tables) {
        // SAFETY: the slot exists; every writer writes the same.
        unsafe {
            if *used == 0 {
                *used = 1;
            }
        }
    }
}

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

/// The same, of connections that the agent has refused; written by it alone.
#[btf_map]
pub static DROPS_BY_AGENT: Array<u64, { DropReason::COUNT as usize }> = Array::new();

/// By [`Reason`].
#[btf_map]
pub static LEFT_TO_KERNEL: PerCpuArray<u64, { Reason::COUNT as usize }> = PerCpuArray::new();

/// By listener and [`per_listener`].
#[btf_map]
pub static LISTENER_COUNTERS: PerCpuArray<u64, { (MAX_LISTENERS * per_listener::COUNT) as usize }> =
    PerCpuArray::new();

/// Connections that the agent has refused, because their headers were late: by listener and hand-off; written by it
/// alone.
#[btf_map]
pub static REFUSED_BY_AGENT: Array<
    u64,
    { (MAX_LISTENERS * per_listener::HAND_OFFS as u32) as usize },
> = Array::new();

/// The segments being read by the ingress and by the egress program. On the stack, the verifier would walk the
/// programs once for each combination of values that it can tell apart.
#[btf_map]
pub static SEGMENTS: PerCpuArray<Segment, 2> = PerCpuArray::new();

/// The ingress program's segment of this CPU.
#[inline(always)]
pub fn incoming() -> Option<&'static mut Segment> {
    // SAFETY: as for the scratch.
    SEGMENTS.get_ptr_mut(0).map(|segment| unsafe { &mut *segment })
}

/// The egress program's segment of this CPU.
#[inline(always)]
pub fn outgoing() -> Option<&'static mut Segment> {
    // SAFETY: as for the egress program's other memory.
    SEGMENTS.get_ptr_mut(1).map(|segment| unsafe { &mut *segment })
}

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
    /// How many of these came in earlier segments.
    pub kept: usize,
    /// How many bytes of the segment's payload are among those.
    pub skipped: usize,
    /// The bytes of the header, to be kept.
    pub bytes: HeaderBytes,
    /// Of the header.
    pub parser: Parser,
    /// What has been summed of the segment.
    pub summing: Summing,
    /// The segment's TCP options as bytes.
    pub options: options::Buffer,
    /// The same, with no-operations in the place of some.
    pub blanked: options::Buffer,
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
    /// The sequence number that the kernel expects next of a connection that is reset.
    pub expected: u32,
    /// Initial sequence number of the peer, from the handshake.
    pub isn: u32,
    /// How many bytes of the stream to acknowledge.
    pub acknowledged: u32,
    /// When the SYN came of a handshake that the kernel does; 0 if that is not known.
    pub since_ns: u64,
    /// The [`HandOff`](proxyip_common::flow::HandOff) that the connection gets, as its value; 0 before that is decided.
    pub hand_off: u8,
    /// Why, as the index of a [`Reason`].
    pub reason: u8,
    /// The connection whose header had begun has been reset, or dropped.
    pub refused: bool,
    /// It has been dropped.
    pub dropped: bool,
    /// The connection was handed over before, and TCP did not take it.
    pub again: bool,
    /// The two ends do not scale windows.
    pub unscaled: bool,
    /// What kind of socket would get the segment. Here and not an argument: on Linux 6.1 the function that is given it
    /// took another one for it.
    pub state: State,
    /// The segment is one that this program has queued.
    pub clone: bool,
    /// The socket that would get the segment is an MPTCP listener.
    pub mptcp: bool,
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

/// To be called with what an exported function finds by itself, before and after it is called: everything is in memory
/// then, and nothing of it is known to the compiler.
#[inline(always)]
pub fn share<T>(shared: &mut T) -> &mut T {
    black_box(shared)
}

/// Working memory of the egress program for one segment. It may run in the middle of the ingress program, when
/// that sends a frame.
#[repr(C)]
pub struct Egress {
    pub key: FlowKey,
    /// The option being read, and where the options end: offsets in the frame.
    pub at: usize,
    pub end: usize,
    /// Where the SACK blocks are, and how many bytes.
    pub sack_at: usize,
    pub sack_length: usize,
    /// Their edges as they were, and as they shall be.
    pub old: [u32; 8],
    pub new: [u32; 8],
}

/// One [`Egress`] for each CPU.
#[btf_map]
pub static EGRESS: PerCpuArray<Egress, 1> = PerCpuArray::new();

/// The egress program's working memory of this CPU.
#[inline(always)]
pub fn egress() -> Option<&'static mut Egress> {
    let egress = EGRESS.get_ptr_mut(0)?;
    // SAFETY: as for the scratch; the egress program does not run in the middle of itself.
    Some(unsafe { &mut *egress })
}
