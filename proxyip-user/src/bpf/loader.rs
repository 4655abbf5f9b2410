//! Loads instances of the kernel object, with the maps of an agent before this one if there are any.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::MapInfo;
use aya::programs::{CgroupSockAddr, CgroupSockopt, SchedClassifier, SockOps, SocketFilter, Xdp};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use aya_obj::Object;
use proxyip_common::counter::per_listener;
use proxyip_common::settings::front;

use super::btf::{self, SocketOffsets};
use super::definition;
use super::direction::Direction;
use super::fronts::Fronts;
use super::globals::number;
use super::lookups::Lookups;
use super::object;
use super::pins::map_directory;
use super::poll::Messages;
use super::programs::{
    EGRESS, GETPEERNAME, GETSOCKOPT, INGRESS, INGRESS_BASIC, LOOKUP, Loaded, SET, SOCK_OPS, XDP,
    XDP_GENERIC, program_of,
};
use crate::heap;
use crate::host::capability::Capability;

/// The maps that outlive the agent.
pub(super) const PINNED: &[&str] = &[
    "NAMESPACES",
    "PLACES",
    "PROGRAMS",
    "XDP_PROGRAMS",
    "NEIGHBOURS",
    "FOREIGN_ANSWERS",
    "PORTS",
    "LISTENERS",
    "LISTENER_NAMES",
    "POLICIES",
    "FALLBACKS",
    "TRUSTED",
    "CLIENTS",
    "SETS",
    "SET_NAMES",
    "ROUTES",
    "SECRETS",
    "FLOWS",
    "HANDSHAKES",
    "REDIRECTED",
    "ENDED_FLOWS",
    "TRANSLATIONS",
    "PARTIAL_HEADERS",
    "HEADER_BYTES",
    "DROPPED",
    "DRAINED",
    "IN_USE",
    "SOCKETS",
    "TRANSLATED_SOCKETS",
    "EVENTS",
    "MUTED",
    "COUNTERS",
    "DROPS",
    "DROPS_BY_AGENT",
    "LEFT_TO_KERNEL",
    "LISTENER_COUNTERS",
    "REFUSED_BY_AGENT",
    "UNTRUSTED_SOURCES",
];

/// Those whose size the configuration or the host chooses.
pub(super) const SIZED: [&str; 8] = [
    "FLOWS",
    "TRANSLATIONS",
    "LISTENER_NAMES",
    "LISTENER_COUNTERS",
    "REFUSED_BY_AGENT",
    "UNTRUSTED_SOURCES",
    "PARTIAL_HEADERS",
    "HEADER_BYTES",
];

/// How long after a load another one may come soon.
const QUIET: Duration = Duration::from_secs(5);

/// What can be chosen when the programs are loaded.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) pin_path: PathBuf,
    pub(crate) max_flows: u32,
    pub(crate) max_translated: u32,
    pub(crate) max_listeners: u32,
    /// How much the programs log: 0 is nothing, 5 everything.
    pub(crate) log_level: u8,
}

/// Loads instances of the kernel object.
pub(crate) struct Loader {
    options: Options,
    capability: Capability,
    object: Vec<u8>,
    offsets: SocketOffsets,
    /// It has the kernel's BTF, which takes long to parse, and much memory.
    library: Mutex<Option<(EbpfLoader<'static>, Instant)>>,
    fronts: Fronts,
}

/// For whom an instance works.
#[derive(Clone, Copy)]
struct Globals {
    /// The namespace at this entry of `NAMESPACES`.
    namespace: u32,
    /// The set at this entry of `SETS`.
    set: u32,
    /// The programs in front that say the namespace, or [`front::NONE`].
    front: u32,
}

impl Globals {
    /// Of programs that ask for the namespace, or need none.
    const ALL: Self = Self { namespace: 0, set: 0, front: front::NONE };
}

impl Loader {
    /// Compares what an agent before this one has pinned, and changes nothing.
    ///
    /// # Errors
    /// If a pinned map is another one than the object's.
    pub(crate) fn new(options: Options, capability: &Capability) -> Result<Self> {
        let object = object::object(capability.assign)?;
        compare(&map_directory(&options.pin_path), PINNED)?;
        // Only the accept hand-off asks, and a kernel that has it has BTF.
        let offsets = match capability.assign {
            Some(_) => btf::socket_offsets()?,
            None => SocketOffsets::default(),
        };
        let (library, fronts) = (Mutex::default(), Fronts::new(&options.pin_path));
        Ok(Self { options, capability: capability.clone(), object, offsets, library, fronts })
    }

    /// Gives memory back that only the next load needs, if there was none for a while. The next one takes longer then.
    pub(crate) fn rest(&self) {
        let mut library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        if library.take_if(|(_, used)| used.elapsed() > QUIET).is_some() {
            heap::trim();
        }
    }

    /// An instance with the programs on sockets loaded that every agent has.
    pub(crate) fn sockets(&self) -> Result<Ebpf> {
        let mut ebpf = self.load(Globals::ALL)?;
        self.compare_sizes();
        self.fronts.keep_maps()?;
        // All programs are loaded before any map is taken out of the object: they need its descriptors.
        let program: &mut SockOps = program_of(&mut ebpf, SOCK_OPS)?;
        program.load().context("the socket program is refused by the kernel")?;
        for name in GETPEERNAME {
            let program: &mut CgroupSockAddr = program_of(&mut ebpf, name)?;
            program.load().context("the getpeername program is refused by the kernel")?;
        }
        Ok(ebpf)
    }

    /// The program for `getsockopt()`.
    pub(crate) fn getsockopt(&self) -> Result<Loaded> {
        let mut ebpf = self.load(Globals::ALL)?;
        let program: &mut CgroupSockopt = program_of(&mut ebpf, GETSOCKOPT)?;
        program.load().context("the getsockopt program is refused by the kernel")?;
        Loaded::new(program.fd(), program.info())
    }

    /// The programs on interfaces, loaded for all namespaces.
    pub(crate) fn interfaces(&self) -> Result<Instance> {
        let ingress = if self.capability.assign.is_some() { INGRESS } else { INGRESS_BASIC };
        let (mut programs, mut loggers) = (Vec::new(), Vec::new());
        for (name, direction) in [(EGRESS, Direction::Egress), (ingress, Direction::Ingress)] {
            let mut ebpf = self.load(Globals { front: direction.front(), ..Globals::ALL })?;
            let program: &mut SchedClassifier = program_of(&mut ebpf, name)?;
            program.load().with_context(|| {
                format!("the {} program is refused by the kernel", direction.label())
            })?;
            programs.push((direction, Loaded::new(program.fd(), program.info())?));
            if self.options.log_level > 0 {
                let logger = EbpfLogger::init(&mut ebpf);
                loggers.push(logger.context("the programs' messages cannot be read")?);
            }
        }
        Ok(Instance { programs, loggers })
    }

    /// The programs that stand in front of those, for the namespace at this entry of `NAMESPACES`. In the order in which to
    /// attach them.
    pub(crate) fn fronts(&self, namespace: u32) -> Result<Vec<(Direction, Loaded)>> {
        self.fronts.load(namespace)
    }

    /// The program at XDP, loaded for all namespaces, and its messages, if it has any.
    pub(crate) fn xdp(&self) -> Result<(Loaded, Option<Messages>)> {
        ensure!(
            self.capability.assign.is_some(),
            "it needs Linux 6.9, as the accept hand-off does"
        );
        let mut ebpf = self.load(Globals { front: front::XDP, ..Globals::ALL })?;
        let program: &mut Xdp = program_of(&mut ebpf, XDP)?;
        program.load().context("the program at XDP is refused by the kernel")?;
        let program = Loaded::new(program.fd(), program.info())?;
        let logs = self.options.log_level > 0;
        let messages = logs.then(|| EbpfLogger::init(&mut ebpf)).transpose();
        Ok((program, messages.context("the programs' messages cannot be read")?))
    }

    /// The program at generic XDP, for the namespace at this entry of `NAMESPACES`.
    pub(crate) fn xdp_generic(&self, namespace: u32) -> Result<Loaded> {
        ensure!(
            self.capability.assign.is_some(),
            "it needs Linux 6.9, as the accept hand-off does"
        );
        let mut ebpf = self.load(Globals { namespace, ..Globals::ALL })?;
        let program: &mut Xdp = program_of(&mut ebpf, XDP_GENERIC)?;
        program.load().context("the program at XDP is refused by the kernel")?;
        Loaded::new(program.fd(), program.info())
    }

    /// The program that stands in front of it, for the namespace at this entry of `NAMESPACES`.
    pub(crate) fn xdp_front(&self, namespace: u32) -> Result<Loaded> {
        self.fronts.load_xdp(namespace)
    }

    /// An instance with the program for rules of iptables loaded, for the set at this place and the namespace at this
    /// entry of `NAMESPACES`.
    pub(crate) fn set(&self, namespace: u32, place: u16) -> Result<Ebpf> {
        let mut ebpf = self.load(Globals { namespace, set: place.into(), ..Globals::ALL })?;
        let program: &mut SocketFilter = program_of(&mut ebpf, SET)?;
        program.load().context("the program for named sets is refused by the kernel")?;
        Ok(ebpf)
    }

    /// The program for many lookups at once.
    pub(crate) fn lookups(&self) -> Result<Lookups> {
        let mut ebpf = self.load(Globals::ALL)?;
        let program: &mut SchedClassifier = program_of(&mut ebpf, LOOKUP)?;
        program.load().context("the program for lookups is refused by the kernel")?;
        Ok(Lookups::new(ebpf))
    }

    /// An instance.
    fn load(&self, Globals { namespace, set, front }: Globals) -> Result<Ebpf> {
        let directory = map_directory(&self.options.pin_path);
        fs::create_dir_all(&directory).with_context(|| {
            format!("{} cannot be made: is a BPF file system mounted there?", directory.display())
        })?;
        let mut library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || (library_of(&self.options, &self.capability, self.offsets), Instant::now());
        let (loader, used) = library.get_or_insert_with(new);
        *used = Instant::now();
        for (name, value) in [("NAMESPACE", namespace), ("SET", set), ("FRONT", front)] {
            loader.override_global(name, number(value)?, true);
        }
        let ebpf = loader.load(&self.object);
        ebpf.context("the kernel refuses the programs' maps (root or CAP_BPF is needed)")
    }

    /// Says so if a table that was adopted has another size than the configuration wants.
    fn compare_sizes(&self) {
        for ((map, wanted), table) in sizes(&self.options).into_iter().zip([
            "flow table",
            "table of translated connections",
            "table of listeners",
        ]) {
            let pin = map_directory(&self.options.pin_path).join(map);
            if let Ok(size) = MapInfo::from_pin(pin).map(|info| info.max_entries())
                && size != wanted
            {
                tracing::warn!(
                    "the {table} keeps its {size} entries instead of {wanted}: `proxyip detach` before the \
                     start makes a new one"
                );
            }
        }
    }
}

/// With everything that all instances have in common.
fn library_of(
    options: &Options,
    capability: &Capability,
    offsets: SocketOffsets,
) -> EbpfLoader<'static> {
    // They live as long as the process, as loaders do.
    let bytes = |value: u8| &*Box::leak(Box::new(value));
    let offsets = &*Box::leak(Box::new(offsets));
    let directory = map_directory(&options.pin_path);
    let mut loader = EbpfLoader::new();
    for map in PINNED {
        loader.map_pin_path(map, directory.join(map));
    }
    for (map, size) in sizes(options).into_iter().chain(sizes_by_processors()) {
        loader.map_max_entries(map, size);
    }
    for (name, at) in [
        ("USER_MSS_AT", &offsets.user_mss),
        ("BACKLOG_AT", &offsets.backlog),
        ("MAX_BACKLOG_AT", &offsets.max_backlog),
    ] {
        loader.override_global(name, at, true);
    }
    loader.override_global("HAS_NETNS_COOKIE", bytes(capability.netns_cookie.into()), true);
    loader.override_global("AYA_LOG_LEVEL", bytes(options.log_level), true);
    loader
}

/// The maps with a configurable size.
fn sizes(options: &Options) -> [(&'static str, u32); 6] {
    let [flows, translations, names, counters, refused, sources, ..] = SIZED;
    let listeners = options.max_listeners;
    [
        (flows, options.max_flows),
        (translations, options.max_translated),
        (names, listeners),
        (counters, listeners),
        (refused, listeners * u32::from(per_listener::HAND_OFFS)),
        (sources, listeners),
    ]
}

/// Makes sure that those of these maps that are pinned in a directory are as the object has them. Changes nothing.
///
/// # Errors
/// Names the map, what differs, and what to do.
pub(crate) fn compare(directory: &Path, maps: &[&str]) -> Result<()> {
    let object = object::object(None)?;
    let object = Object::parse(&object).context("the kernel object cannot be read")?;
    definition::compare(directory, &object, maps, &SIZED)
}

/// The tables of headers that have begun. In an LRU table each processor keeps 128 free entries for itself. If the
/// table is small, this leaves nothing for others (<https://git.kernel.org/torvalds/c/d4adf1c9ee77>).
fn sizes_by_processors() -> [(&'static str, u32); 2] {
    const EACH: u32 = 256;
    let processors = nr_cpus().ok().and_then(|count| u32::try_from(count).ok()).unwrap_or(1);
    let by_processors = processors.saturating_mul(EACH);
    let [.., headers, bytes] = SIZED;
    [(headers, by_processors.max(16_384)), (bytes, by_processors.max(1024))]
}

/// The programs that work for all namespaces.
pub(crate) struct Instance {
    pub(crate) programs: Vec<(Direction, Loaded)>,
    /// Of their messages, if they have any.
    pub(crate) loggers: Vec<Messages>,
}
