//! Where the programs run: a network namespace with one Ethernet interface, and the test at its other end. There are
//! sockets that listen, and an instance of the kernel object with separate maps.

mod count;
mod family;
mod load;
mod ports;
mod program;
mod sockets;
mod state;
mod tables;

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{MapData, RingBuf, SkStorage};
use aya::programs::{SchedClassifier, TcAttachType, TestRun, TestRunOptions, Xdp, tc};
use proxyip_common::flow::{FlowRecord, TranslatedSocket};
use proxyip_user::bpf::pod::Raw;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Namespace, Scratch, Tap};

pub use count::Count;
pub use family::{FAMILIES, Family, TRUSTED};
pub use ports::{
    ACCEPT, AUTO, COOKIE, DENYING, DROPPING, INTERFACE, LISTENERS, MTU, MULTIPATH, MUTE, OBSERVE,
    OPEN, OVER, REFUSING, RESETTING, SETTINGS, SILENT, TRANSLATE,
};
pub use program::Program;
pub use sockets::{Heard, Kernel, PATIENCE};
pub use state::{
    Entry, LINUX, PLAIN, TIMESTAMPS, after, await_room_in_epoch, cookie_of, cookie_of_old,
    endpoint, first, flow, handshake, is_foreign, is_good, key, linux_options, mss, no_cookie,
    now_ns, of_listener, translation,
};
pub use tables::Tables;

/// How the programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// For this namespace alone, and attached by themselves.
    Alone,
    /// For all namespaces, behind the programs in front, as the agent has them.
    BehindFronts,
}

/// A network namespace with one Ethernet interface, and programs for it. The namespace goes with it.
pub struct Bench {
    /// The other end of the interface.
    pub tap: Tap,
    ebpf: Ebpf,
    /// The programs in front, where there are some.
    fronts: Option<load::Fronts>,
    /// The number of the interface.
    pub interface: u32,
    listeners: Vec<(u16, TcpListener)>,
    /// Connections that were accepted.
    pub streams: Vec<TcpStream>,
    /// The maps.
    pub tables: Tables,
    /// The records of sockets.
    sockets: SkStorage<MapData, Raw<FlowRecord>>,
    /// By how much the segments of sockets are shifted.
    translated: SkStorage<MapData, Raw<TranslatedSocket>>,
    events: RingBuf<MapData>,
}

/// What a program made of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the program returned.
    pub verdict: i32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// Runs `work` on a new bench, on a thread inside its namespace.
pub fn on_bench(work: impl FnOnce(&mut Bench) + Send) {
    on_bench_with(Arrangement::Alone, work);
}

/// The same, with the programs arranged so.
pub fn on_bench_with(arrangement: Arrangement, work: impl FnOnce(&mut Bench) + Send) {
    let scratch = Scratch::new();
    let namespace = Namespace::new(scratch.name().to_owned());
    let tap = Tap::new(&namespace, INTERFACE);
    plug(&namespace);
    namespace.enter(|| work(&mut Bench::new(tap, arrangement, &scratch.pin_path())));
}

/// Gives the interface its addresses, and a neighbour as the way to everybody. The namespace forwards, so that the
/// routing table matters.
fn plug(namespace: &Namespace) {
    for (key, value) in [
        ("ipv4.conf.all.forwarding", "1"),
        ("ipv6.conf.all.forwarding", "1"),
        ("ipv4.tcp_max_syn_backlog", "8192"),
        ("core.somaxconn", "8192"),
    ] {
        namespace.sysctl(key, value);
    }
    for command in [
        "link set eth0 address 02:00:00:00:00:01",
        "address add 10.77.0.1/24 broadcast 10.77.0.255 dev eth0",
        "address add fd77::1/64 dev eth0 nodad",
    ] {
        namespace.ip(command);
    }
    for neighbour in ["10.77.0.2", "10.77.0.3", "fd77::2", "fd77::3"] {
        namespace.ip(&format!("neighbour add {neighbour} lladdr 02:00:00:00:00:02 dev eth0"));
    }
    namespace.ip("route add default via 10.77.0.2");
    namespace.ip("-6 route add default via fd77::2");
}

impl Bench {
    fn new(tap: Tap, arrangement: Arrangement, pins: &Path) -> Self {
        let interface = nix::net::if_::if_nametoindex(INTERFACE).expect("the interface");
        let (mut ebpf, fronts) = load::objects(arrangement, pins);
        let tables = Tables::new(&mut ebpf);
        let (listeners, streams) = (listen(), Vec::new());
        let sockets = ebpf.take_map("SOCKETS").expect("a storage of sockets");
        let sockets = SkStorage::try_from(sockets).expect("a storage of sockets");
        let translated = ebpf.take_map("TRANSLATED_SOCKETS").expect("a storage of sockets");
        let translated = SkStorage::try_from(translated).expect("a storage of sockets");
        let events = ebpf.take_map("EVENTS").expect("a ring of events");
        let events = RingBuf::try_from(events).expect("a ring of events");
        Self {
            tap,
            ebpf,
            fronts,
            interface,
            listeners,
            streams,
            tables,
            sockets,
            translated,
            events,
        }
    }

    /// The socket that listens on this port.
    pub fn listener(&self, port: u16) -> &TcpListener {
        let found = self.listeners.iter().find(|(listening, _)| *listening == port);
        found.map(|(_, listener)| listener).expect("a port with a listener")
    }

    /// Lets a program see a frame that has come in by the interface, or is to leave by it.
    pub fn run(&self, program: Program, frame: &[u8]) -> Outcome {
        /// Offset of `ifindex` in `struct __sk_buff` (`linux/bpf.h`). The rest of the structure is zero.
        const INTERFACE_AT: usize = 40;
        let mut context = [0; INTERFACE_AT + 4];
        context[INTERFACE_AT..].copy_from_slice(&self.interface.to_ne_bytes());
        if program.is_at_xdp() {
            return self.run_xdp(program, frame);
        }
        let mut out = vec![0; 8192];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let result = self.program(program).test_run(options);
        let result = result.unwrap_or_else(|error| panic!("{} bytes: {error:?}", frame.len()));
        out.truncate(result.data_size_out.try_into().expect("a short frame"));
        Outcome { verdict: result.return_value.cast_signed(), frame: out }
    }

    fn run_xdp(&self, program: Program, frame: &[u8]) -> Outcome {
        let length = u32::try_from(frame.len()).expect("a frame");
        // `struct xdp_md` (`linux/bpf.h`).
        let fields = [0, length, 0, self.interface, 0, 0];
        let context: Vec<u8> = fields.iter().flat_map(|field: &u32| field.to_ne_bytes()).collect();
        let mut out = vec![0; 16_384];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let program: &Xdp =
            self.ebpf.program(program.name()).expect("a program").try_into().expect("XDP");
        let result = program.test_run(options);
        let result = result.unwrap_or_else(|error| panic!("{} bytes: {error:?}", frame.len()));
        out.truncate(result.data_size_out.try_into().expect("a frame"));
        Outcome { verdict: result.return_value.cast_signed(), frame: out }
    }

    /// The program, loaded.
    pub fn program(&self, program: Program) -> &SchedClassifier {
        let name = program.name();
        self.ebpf.program(name).expect(name).try_into().expect("a TC program")
    }

    /// The program that is in front of this one.
    pub fn front(&self, program: Program) -> &SchedClassifier {
        let fronts = self.fronts.as_ref().expect("programs that have others in front");
        let name = load::name_of_front(program);
        fronts.ebpf.program(name).expect(name).try_into().expect("a TC program")
    }

    /// Forgets the events that the programs have sent; how many there were.
    pub fn take_events(&mut self) -> usize {
        std::iter::from_fn(|| self.events.next().map(drop)).count()
    }

    /// From now on the programs see what comes and goes by the wire.
    pub fn attach(&mut self, ingress: Program) {
        // Before Linux 6.6 programs hang on a qdisc.
        if !Program::Ingress.is_possible() {
            tc::qdisc_add_clsact(INTERFACE).expect("a qdisc");
        }
        for (program, place) in
            [(Program::Egress, TcAttachType::Egress), (ingress, TcAttachType::Ingress)]
        {
            let program: &mut SchedClassifier =
                self.ebpf.program_mut(program.name()).expect("a program").try_into().expect("TC");
            program.attach(INTERFACE, place).expect("it can be attached");
        }
    }

    /// Whether this frame leaves by the interface soon.
    pub fn sends(&self, frame: &[u8]) -> bool {
        const SOON: Duration = Duration::from_millis(200);
        let mut buffer = [0; 8192];
        std::iter::from_fn(|| {
            self.tap.read(&mut buffer, SOON).map(|length| buffer[..length] == *frame)
        })
        .any(|same| same)
    }

    /// Forgets what has left by the interface.
    pub fn drain(&self) {
        let mut buffer = [0; 8192];
        while self.tap.read(&mut buffer, Duration::ZERO).is_some() {}
    }
}

/// Sockets that listen, for both families.
fn listen() -> Vec<(u16, TcpListener)> {
    let guarded = LISTENERS.map(|(port, ..)| port);
    let ports = guarded.into_iter().filter(|port| *port != SILENT).chain([OVER, OPEN]);
    let multipath = multipath();
    ports
        .map(|port| {
            let protocol = if port == MULTIPATH { multipath } else { Protocol::TCP };
            let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(protocol)).expect("a socket");
            socket.set_only_v6(false).expect("both families");
            let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            socket.bind(&all.into()).expect("a free port");
            socket.listen(8192).expect("a listener");
            socket.set_nonblocking(true).expect("a flag");
            (port, socket.into())
        })
        .collect()
}

/// MPTCP. Where the kernel does not have it, it does not have the accept hand-off either; the program of other kernels
/// does not look at the kind of socket.
fn multipath() -> Protocol {
    let exists = Path::new("/proc/sys/net/mptcp").exists();
    assert!(
        exists || !Program::Ingress.is_possible(),
        "a kernel with the accept hand-off has MPTCP"
    );
    if exists { Protocol::MPTCP } else { Protocol::TCP }
}
