//! Sockets, and the helpers that find and read them.

#![allow(
    clippy::missing_safety_doc,
    reason = "the same for all: contexts, sockets and buffers are valid, as the verifier asks"
)]

use core::{ffi::c_void, mem::MaybeUninit};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    ptr,
};

use proxyip_common::address::Endpoint;

use super::{
    bindings::{
        BPF_SK_STORAGE_GET_F_CREATE, bpf_sock, bpf_sock_tuple, bpf_tcp_sock, mptcp_sock, tcp_sock,
    },
    numbers::ENOENT,
    state,
};

/// What a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It listens.
    Listening,
    /// It listens for MPTCP.
    ListeningMptcp,
    /// The kernel has answered a SYN.
    Request,
    /// Its connection is over.
    TimeWait,
    /// It has a connection.
    Connected,
}

/// A request socket made by a program.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The two ends use ECN.
    pub(crate) ecn: bool,
}

/// A socket. The first fields are what programs see.
#[repr(C)]
pub struct Socket {
    common: bpf_sock,
    tcp: bpf_tcp_sock,
    kind: Kind,
    references: u32,
    storage: BTreeMap<usize, Box<[u64]>>,
    /// Initial sequence numbers: the peer's and its own.
    pub(crate) isn: u32,
    pub(crate) iss: u32,
    /// The two ends use ECN.
    pub ecn: bool,
    /// What the application has read.
    pub received: Vec<u8>,
    /// How many bytes it has sent.
    pub sent: u32,
    /// `TCP_MAXSEG`, if it is not 0.
    pub user_mss: u16,
    /// How many connections wait for `accept()`, and how many may.
    pub backlog: u32,
    /// See [`Socket::backlog`].
    pub max_backlog: u32,
}

impl Socket {
    /// A socket without a connection.
    pub(crate) fn new(kind: Kind) -> Box<Self> {
        // SAFETY: numbers, for which zero is a value.
        let (mut common, tcp): (bpf_sock, bpf_tcp_sock) =
            unsafe { MaybeUninit::zeroed().assume_init() };
        common.state = match kind {
            Kind::Connected => 1,
            Kind::TimeWait => 6,
            Kind::Listening | Kind::ListeningMptcp => 10,
            Kind::Request => 12,
        };
        Box::new(Self {
            common,
            tcp,
            kind,
            references: 0,
            storage: BTreeMap::new(),
            isn: 0,
            iss: 0,
            ecn: false,
            received: Vec::new(),
            sent: 0,
            user_mss: 0,
            backlog: 0,
            max_backlog: 4096,
        })
    }

    /// The kind of socket.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The sequence number that it expects next.
    pub fn next(&self) -> u32 {
        self.tcp.rcv_nxt
    }

    pub(crate) fn set_next(&mut self, next: u32) {
        self.tcp.rcv_nxt = next;
    }

    /// Sets the local port that programs see.
    pub(crate) fn set_port(&mut self, port: u16) {
        self.common.src_port = port.into();
    }

    pub(crate) fn as_sock(&mut self) -> *mut bpf_sock {
        ptr::from_mut(self).cast()
    }

    fn is_full(&self) -> bool {
        !matches!(self.kind, Kind::Request | Kind::TimeWait)
    }
}

/// Where programs find what a listening socket allows.
pub mod offsets {
    use core::mem::offset_of;

    use super::Socket;

    /// Of `TCP_MAXSEG`.
    pub const USER_MSS: u32 = offset_of!(Socket, user_mss) as u32;
    /// Of the connections that wait.
    pub const BACKLOG: u32 = offset_of!(Socket, backlog) as u32;
    /// Of how many may.
    pub const MAX_BACKLOG: u32 = offset_of!(Socket, max_backlog) as u32;
}

/// Two ends as bytes, the peer's first.
pub(crate) type Ends = [u8; 36];

pub(crate) fn ends(peer: Endpoint, local: Endpoint) -> Ends {
    let mut ends = [0; 36];
    ends[..16].copy_from_slice(&peer.address());
    ends[16..32].copy_from_slice(&local.address());
    ends[32..34].copy_from_slice(&peer.port_bytes());
    ends[34..].copy_from_slice(&local.port_bytes());
    ends
}

/// All sockets. Their order is the same in each run, so that a fuzzer sees the same paths again.
#[derive(Default)]
pub struct Sockets {
    /// By local port, in host order.
    pub(crate) listening: BTreeMap<u16, Box<Socket>>,
    /// By their ends.
    pub(crate) flows: BTreeMap<Ends, Box<Socket>>,
    /// How many references programs hold.
    held: u32,
}

impl Sockets {
    /// The socket that TCP would find.
    pub(crate) fn find(&mut self, peer: Endpoint, local: Endpoint) -> Option<&mut Socket> {
        let socket = match self.flows.get_mut(&ends(peer, local)) {
            Some(socket) => socket,
            None => self.listening.get_mut(&local.port())?,
        };
        Some(socket)
    }

    /// The flow's own socket, held until [`bpf_sk_release`]; null if it has none.
    pub(crate) fn hold(&mut self, peer: Endpoint, local: Endpoint) -> *mut bpf_sock {
        let Some(socket) = self.flows.get_mut(&ends(peer, local)) else { return ptr::null_mut() };
        socket.references += 1;
        self.held += 1;
        socket.as_sock()
    }

    /// A program that has ended holds none.
    pub(crate) fn assert_released(&self) {
        assert_eq!(self.held, 0, "a program has kept a reference to a socket");
    }
}

/// # Safety
/// The pointer is a socket's, and nobody else uses the socket at the same time.
pub(crate) unsafe fn socket<'a, T>(socket: *mut T) -> &'a mut Socket {
    // SAFETY: programs have pointers to the first fields of sockets only.
    let socket = unsafe { &mut *socket.cast::<Socket>() };
    assert!(socket.references > 0, "a program uses a socket that it does not hold");
    socket
}

/// Finds a socket and holds it.
pub unsafe fn bpf_skc_lookup_tcp(
    _ctx: *mut c_void,
    tuple: *mut bpf_sock_tuple,
    tuple_size: u32,
    netns: u64,
    flags: u64,
) -> *mut bpf_sock {
    assert_eq!((netns, flags), (u64::MAX, 0), "in its own namespace");
    let tuple = tuple.cast::<u8>();
    // The bytes may lie anywhere in a frame.
    let (peer, local) = match tuple_size {
        12 => {
            // SAFETY: the program's structure has so many bytes.
            let (addresses, ports) = unsafe {
                let addresses = tuple.cast::<[[u8; 4]; 2]>().read_unaligned();
                (addresses, tuple.add(8).cast::<[[u8; 2]; 2]>().read_unaligned())
            };
            let end = |at: usize| Endpoint::from_v4(addresses[at], ports[at]);
            (end(0), end(1))
        }
        36 => {
            // SAFETY: as above.
            let (addresses, ports) = unsafe {
                let addresses = tuple.cast::<[[u8; 16]; 2]>().read_unaligned();
                (addresses, tuple.add(32).cast::<[[u8; 2]; 2]>().read_unaligned())
            };
            let end = |at: usize| Endpoint::from_v6(addresses[at], ports[at]);
            (end(0), end(1))
        }
        _ => panic!("{tuple_size} bytes are no tuple"),
    };
    state::with(|state| {
        let Some(socket) = state.sockets.find(peer, local) else { return ptr::null_mut() };
        socket.references += 1;
        let socket = socket.as_sock();
        state.sockets.held += 1;
        socket
    })
}

/// Lets go of a socket.
pub unsafe fn bpf_sk_release(sock: *mut c_void) -> i64 {
    // SAFETY: the program holds the socket.
    unsafe { socket(sock) }.references -= 1;
    state::with(|state| state.sockets.held -= 1);
    0
}

/// The socket, if it is more than a request or a remainder.
pub unsafe fn bpf_sk_fullsock(sk: *mut bpf_sock) -> *mut bpf_sock {
    // SAFETY: the program holds the socket.
    if unsafe { socket(sk) }.is_full() { sk } else { ptr::null_mut() }
}

/// What TCP knows of a full socket.
pub unsafe fn bpf_tcp_sock(sk: *mut bpf_sock) -> *mut bpf_tcp_sock {
    // SAFETY: the program holds the socket.
    let socket = unsafe { socket(sk) };
    if socket.is_full() { &raw mut socket.tcp } else { ptr::null_mut() }
}

/// The socket as the kernel's own type, if it is a full one.
pub unsafe fn bpf_skc_to_tcp_sock(sk: *mut c_void) -> *mut tcp_sock {
    // SAFETY: the program holds the socket.
    if unsafe { socket(sk) }.is_full() { sk.cast() } else { ptr::null_mut() }
}

/// The socket as the kernel's own type, if it is one of MPTCP.
pub unsafe fn bpf_skc_to_mptcp_sock(sk: *mut c_void) -> *mut mptcp_sock {
    // SAFETY: the program holds the socket.
    let mptcp = unsafe { socket(sk) }.kind == Kind::ListeningMptcp;
    if mptcp { sk.cast() } else { ptr::null_mut() }
}

/// The memory of a socket in this map.
pub unsafe fn bpf_sk_storage_get(
    map: *mut c_void,
    sk: *mut c_void,
    value: *mut c_void,
    flags: u64,
) -> *mut c_void {
    // SAFETY: the definition begins with the size of a value; the socket is held, or its event's.
    let (size, socket) = unsafe { (*map.cast::<usize>(), &mut *sk.cast::<Socket>()) };
    assert!(socket.is_full(), "the verifier refuses others");
    let creates = flags & u64::from(BPF_SK_STORAGE_GET_F_CREATE) != 0;
    let words = match socket.storage.entry(map as usize) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(_) if !creates || state::fails() => return ptr::null_mut(),
        Entry::Vacant(entry) => {
            let mut words = vec![0_u64; size.div_ceil(8)].into_boxed_slice();
            if !value.is_null() {
                let to = words.as_mut_ptr().cast();
                // SAFETY: the program's value has that size, and so many words hold it.
                unsafe { ptr::copy_nonoverlapping(value.cast::<u8>(), to, size) };
            }
            entry.insert(words)
        }
    };
    words.as_mut_ptr().cast()
}

/// Removes what a socket stores for a map.
pub unsafe fn bpf_sk_storage_delete(map: *mut c_void, sk: *mut c_void) -> i64 {
    // SAFETY: the socket is held, or its event's.
    let socket = unsafe { &mut *sk.cast::<Socket>() };
    assert!(socket.is_full(), "the verifier refuses others");
    if socket.storage.remove(&(map as usize)).is_some() { 0 } else { ENOENT }
}
