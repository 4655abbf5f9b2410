//! Where the programs run: a network namespace with one Ethernet interface, and the test at its other end. There are
//! sockets that listen, and an instance of the kernel object with separate maps.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use aya::programs::{SchedClassifier, TcAttachType, TestRun, TestRunOptions, tc};
use aya::{Ebpf, EbpfLoader};
use proxyip_common::cookie::EPOCH_NS;
use proxyip_common::settings::{Denied, HandOffChoice, NamespaceSettings, Untrusted};
use proxyip_tests::{Namespace, Scratch, Tap};
use proxyip_user::bpf::object;
use socket2::{Domain, Protocol, Socket, Type};

use crate::case::Program;
use crate::tables::Tables;

/// Everything that a case needs; its namespace goes with it.
pub(crate) struct Bench {
    pub(crate) tap: Tap,
    ebpf: Ebpf,
    interface: u32,
    listeners: Vec<(u16, TcpListener)>,
    /// Connections that were accepted.
    pub(crate) streams: Vec<TcpStream>,
    pub(crate) tables: Tables,
}

/// What a program made of a frame.
pub(crate) struct Outcome {
    pub(crate) verdict: i32,
    pub(crate) frame: Vec<u8>,
}

/// The listeners, by index: port, hand-off, and treatment of untrusted sources.
pub(crate) const LISTENERS: [(u16, HandOffChoice, Untrusted); 10] = [
    (AUTO, HandOffChoice::Auto, Untrusted::Bypass),
    (TRANSLATE, HandOffChoice::Translate, Untrusted::Bypass),
    (OBSERVE, HandOffChoice::Observe, Untrusted::Bypass),
    (ACCEPT, HandOffChoice::Accept, Untrusted::Bypass),
    (RESETTING, HandOffChoice::Auto, Untrusted::Reset),
    (DROPPING, HandOffChoice::Auto, Untrusted::Drop),
    (SILENT, HandOffChoice::Auto, Untrusted::Bypass),
    (MULTIPATH, HandOffChoice::Auto, Untrusted::Bypass),
    (REFUSING, HandOffChoice::Auto, Untrusted::Bypass),
    (MUTE, HandOffChoice::Auto, Untrusted::Bypass),
];
/// The listeners that deny the clients of [`Family::client`](crate::state::Family::client), and how they treat these.
pub(crate) const DENYING: [(u16, Denied); 2] = [(REFUSING, Denied::Reset), (MUTE, Denied::Drop)];
pub(crate) const AUTO: u16 = 80;
pub(crate) const TRANSLATE: u16 = 81;
pub(crate) const OBSERVE: u16 = 82;
pub(crate) const ACCEPT: u16 = 83;
pub(crate) const RESETTING: u16 = 84;
pub(crate) const DROPPING: u16 = 85;
/// Guarded, but nothing listens.
pub(crate) const SILENT: u16 = 86;
/// An MPTCP socket listens.
pub(crate) const MULTIPATH: u16 = 87;
/// These deny clients.
pub(crate) const REFUSING: u16 = 90;
pub(crate) const MUTE: u16 = 91;
/// Guarded no longer.
pub(crate) const OVER: u16 = 88;
/// Not guarded.
pub(crate) const OPEN: u16 = 89;

pub(crate) const INTERFACE: &str = "eth0";
/// The namespace's cookie, as the programs' settings have it.
pub(crate) const COOKIE: u64 = 0x5eed;
/// The MTU of the interface.
pub(crate) const MTU: u16 = 1500;

pub(crate) const SETTINGS: NamespaceSettings = NamespaceSettings {
    cookie: COOKIE,
    epoch_ns: EPOCH_NS,
    nat_since_ns: 0,
    timestamp_offset: 0x0102_0304,
    window: 64_000,
    window_scale: 7,
    flags: NamespaceSettings::SYNCOOKIES
        | NamespaceSettings::TIMESTAMPS
        | NamespaceSettings::SACK
        | NamespaceSettings::WINDOW_SCALING
        | NamespaceSettings::CONNTRACK_LOOSE
        | NamespaceSettings::ECN,
};

/// Runs `work` on a new bench, on a thread inside its namespace.
pub(crate) fn on_bench(work: impl FnOnce(&mut Bench) + Send) {
    let scratch = Scratch::new();
    let namespace = Namespace::new(scratch.name().to_owned());
    let tap = Tap::new(&namespace, INTERFACE);
    plug(&namespace);
    namespace.enter(|| work(&mut Bench::new(tap)));
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
    fn new(tap: Tap) -> Self {
        let interface = nix::net::if_::if_nametoindex(INTERFACE).expect("the interface");
        let mut ebpf = load();
        let tables = Tables::new(&mut ebpf);
        Self { tap, ebpf, interface, listeners: listen(), streams: Vec::new(), tables }
    }

    /// The socket that listens on this port.
    pub(crate) fn listener(&self, port: u16) -> &TcpListener {
        let found = self.listeners.iter().find(|(listening, _)| *listening == port);
        found.map(|(_, listener)| listener).expect("a port with a listener")
    }

    /// Lets a program see a frame that has come in by the interface, or is to leave by it.
    pub(crate) fn run(&self, program: Program, frame: &[u8]) -> Outcome {
        /// Offset of `ifindex` in `struct __sk_buff` (`linux/bpf.h`). The rest of the structure is zero.
        const INTERFACE_AT: usize = 40;
        let mut context = [0; INTERFACE_AT + 4];
        context[INTERFACE_AT..].copy_from_slice(&self.interface.to_ne_bytes());
        let mut out = vec![0; 8192];
        let name = program.name();
        let program: &SchedClassifier =
            self.ebpf.program(name).expect(name).try_into().expect("a TC program");
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let result = program.test_run(options);
        let result = result.unwrap_or_else(|error| panic!("{} bytes: {error:?}", frame.len()));
        out.truncate(result.data_size_out.try_into().expect("a short frame"));
        Outcome { verdict: result.return_value.cast_signed(), frame: out }
    }

    /// From now on the programs see what comes and goes by the wire.
    pub(crate) fn attach(&mut self, ingress: Program) {
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
    pub(crate) fn sends(&self, frame: &[u8]) -> bool {
        const SOON: Duration = Duration::from_millis(200);
        let mut buffer = [0; 8192];
        std::iter::from_fn(|| {
            self.tap.read(&mut buffer, SOON).map(|length| buffer[..length] == *frame)
        })
        .any(|same| same)
    }

    /// Forgets what has left by the interface.
    pub(crate) fn drain(&self) {
        let mut buffer = [0; 8192];
        while self.tap.read(&mut buffer, Duration::ZERO).is_some() {}
    }
}

/// The object with its programs on interfaces loaded, and small tables.
fn load() -> Ebpf {
    let object = object::object(object::assign()).expect("the kernel object");
    let mut loader = EbpfLoader::new();
    for table in ["FLOWS", "HANDSHAKES", "TRANSLATIONS"] {
        loader.map_max_entries(table, 1024);
    }
    let level = 0_u8;
    loader.override_global("AYA_LOG_LEVEL", &level, true);
    let mut ebpf = loader.load(&object).expect("the kernel takes the maps");
    for program in Program::ALL.into_iter().filter(|program| program.is_possible()) {
        let name = program.name();
        let program: &mut SchedClassifier =
            ebpf.program_mut(name).expect(name).try_into().expect("a TC program");
        program.load().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    ebpf
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
