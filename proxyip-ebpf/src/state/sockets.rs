//! The socket a segment belongs to.

use core::{ffi::c_void, ptr::NonNull};

use proxyip_common::flow::FlowRecord;

use crate::{
    frame::{segment::Segment, tcp::Seq},
    kernel::{
        EINVAL, Global,
        bindings::{
            bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1,
            bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
        },
        helpers::{
            bpf_sk_release, bpf_skc_lookup_tcp, bpf_skc_to_mptcp_sock, bpf_skc_to_tcp_sock,
            bpf_tcp_sock,
        },
        kfunc::{self, RequestAttributes},
        offsets,
        packet::{Packet, raw},
        programs::TcContext,
    },
    state::storage::{SOCKETS, ahead_of, full, stored},
};

/// `BPF_F_CURRENT_NETNS`.
const CURRENT_NAMESPACE: u64 = u64::MAX;
const TCP_TIME_WAIT: u32 = 6;
const TCP_LISTEN: u32 = 10;
const TCP_NEW_SYN_RECV: u32 = 12;

/// Where a `struct tcp_sock` has what [`Limits`] is read from, in bytes; 0 where that is not known. Set before loading.
#[unsafe(no_mangle)]
pub static USER_MSS_AT: Global<u32> = Global::new(offsets::USER_MSS);
/// See [`USER_MSS_AT`].
#[unsafe(no_mangle)]
pub static BACKLOG_AT: Global<u32> = Global::new(offsets::BACKLOG);
/// See [`USER_MSS_AT`].
#[unsafe(no_mangle)]
pub static MAX_BACKLOG_AT: Global<u32> = Global::new(offsets::MAX_BACKLOG);

/// What a socket that listens allows its connections.
#[derive(Clone, Copy)]
pub struct Limits {
    /// `TCP_MAXSEG`; 0 if the application has not set it.
    pub user_mss: u16,
    /// The accept queue is full.
    pub is_full: bool,
}

impl Limits {
    /// The MSS to offer where the route allows this one.
    #[inline(always)]
    pub fn limit(self, mss: u16) -> u16 {
        if self.user_mss != 0 && self.user_mss < mss { self.user_mss } else { mss }
    }
}

/// What kind of socket would get the segment.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// There is none.
    Nothing,
    Listening,
    TimeWait,
    /// A request socket: the kernel has answered a SYN and awaits the handshake's end.
    Request,
    /// Any other: the connection exists.
    Connected,
}

/// What would get the segment: all that is asked of its socket, so that nobody need hold it. As small as a register.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Found {
    pub state: State,
    /// Connections of the listening socket may be MPTCP; false where accept is not possible anyway.
    pub mptcp: bool,
    /// The packets of the connection are marked, because its client is denied.
    pub marked: bool,
    /// The connection's header has not come, and an application will read it.
    pub awaits_header: bool,
    /// The sequence number that TCP expects next of a connection that awaits its header.
    pub next: Seq,
}

impl Found {
    /// No socket.
    pub const NOTHING: Self = Self::new(State::Nothing);

    /// A socket, known by its state only.
    #[inline(always)]
    pub const fn new(state: State) -> Self {
        Self { state, mptcp: false, marked: false, awaits_header: false, next: Seq(0) }
    }
}

/// A reference to a socket, released when dropped.
pub struct Socket(*mut bpf_sock);

impl Drop for Socket {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the pointer came from bpf_skc_lookup_tcp() and is released exactly once.
        unsafe { bpf_sk_release(self.0.cast()) };
    }
}

impl Socket {
    /// The socket that TCP would find for this segment.
    #[inline(always)]
    pub fn find(packet: &impl Packet, segment: &Segment) -> Option<Self> {
        let (mut tuple, size) = tuple(segment);
        // SAFETY: the tuple is initialised for `size` bytes.
        unsafe { Self::find_ends(packet, &raw mut tuple, size) }
    }

    /// The socket that TCP would find for a segment with these ends.
    ///
    /// # Safety
    /// At `ends` there are `length` bytes, on the stack or in the frame: source and destination address, source and
    /// destination port, in network byte order. 12 bytes are those of IPv4, 36 those of IPv6.
    #[inline(always)]
    pub unsafe fn find_ends(
        packet: &impl Packet,
        ends: *mut bpf_sock_tuple,
        length: u32,
    ) -> Option<Self> {
        // SAFETY: the caller's promise.
        let socket =
            unsafe { bpf_skc_lookup_tcp(packet.context(), ends, length, CURRENT_NAMESPACE, 0) };
        if socket.is_null() { None } else { Some(Self(socket)) }
    }

    #[inline(always)]
    pub fn state(&self) -> State {
        // SAFETY: not null; a field that all kinds of sockets have.
        match unsafe { (*self.0).state } {
            TCP_LISTEN => State::Listening,
            TCP_TIME_WAIT => State::TimeWait,
            TCP_NEW_SYN_RECV => State::Request,
            _ => State::Connected,
        }
    }

    #[inline(always)]
    pub fn is_mptcp(&self) -> bool {
        // SAFETY: not null, and held.
        !unsafe { bpf_skc_to_mptcp_sock(self.0.cast()) }.is_null()
    }

    /// The record in the storage of a full socket. It lives as long as the socket is held.
    #[inline(always)]
    pub fn record(&self) -> Option<NonNull<FlowRecord>> {
        // SAFETY: not null, and held.
        unsafe { full(self.0).and_then(|socket| stored(&SOCKETS, socket)) }
    }

    /// How far the peer's numbers are ahead, if this is a full socket whose segments are translated in this namespace.
    #[inline(always)]
    pub fn ahead(&self, namespace: u64) -> Option<u32> {
        // SAFETY: not null, and held.
        unsafe { full(self.0).and_then(|socket| ahead_of(socket, namespace)) }
    }

    /// The sequence number that TCP expects next.
    #[inline(always)]
    pub fn next_sequence(&self) -> Option<Seq> {
        // SAFETY: not null, and held.
        unsafe { bpf_tcp_sock(self.0).as_ref() }.map(|tcp| Seq(tcp.rcv_nxt))
    }

    /// What a listening socket allows. The kernel asks the same when a SYN comes
    /// (<https://elixir.bootlin.com/linux/v6.9/source/net/ipv4/tcp_input.c>, `tcp_conn_request()`).
    #[inline(always)]
    #[expect(clippy::cast_ptr_alignment, reason = "the kernel aligns the fields of its structures")]
    pub fn limits(&self) -> Limits {
        let mut limits = Limits { user_mss: 0, is_full: false };
        // SAFETY: not null, and held.
        let socket = unsafe { bpf_skc_to_tcp_sock(self.0.cast()) }.cast::<u8>();
        if socket.is_null() {
            return limits;
        }
        let (mss, waiting, most) = (USER_MSS_AT.load(), BACKLOG_AT.load(), MAX_BACKLOG_AT.load());
        // SAFETY: offsets of these fields, as the kernel's BTF says.
        unsafe {
            if mss != 0 {
                limits.user_mss = socket.add(mss as usize).cast::<u16>().read_volatile();
            }
            if waiting != 0 && most != 0 {
                let waiting = socket.add(waiting as usize).cast::<u32>().read_volatile();
                limits.is_full = waiting > socket.add(most as usize).cast::<u32>().read_volatile();
            }
        }
        limits
    }

    /// Gives the skb, and with it the connection, to this listening socket.
    ///
    /// # Errors
    /// The kfunc's error number.
    #[inline(always)]
    pub fn assign(&self, ctx: &TcContext, attributes: &mut RequestAttributes) -> Result<(), i32> {
        // SAFETY: not null, and held.
        let socket = unsafe { bpf_skc_to_tcp_sock(self.0.cast()) };
        if socket.is_null() {
            return Err(-EINVAL);
        }
        let socket = socket.cast::<c_void>();
        // SAFETY: a trusted pointer to a socket, and attributes of the size passed.
        let result = unsafe {
            kfunc::bpf_sk_assign_tcp_reqsk(
                raw(ctx),
                socket,
                attributes,
                size_of::<RequestAttributes>() as i32,
            )
        };
        if result == 0 { Ok(()) } else { Err(result) }
    }
}

/// The full socket that sends a frame, which holds it.
///
/// A frame keeps its socket when it goes from one network namespace to another.
#[derive(Clone, Copy)]
pub struct Sender(*mut bpf_sock);

impl Sender {
    /// `None` if the frame has no socket, or another kind of one.
    #[inline(always)]
    pub fn of(ctx: &TcContext) -> Option<Self> {
        // SAFETY: a field of the context; the frame holds its socket.
        unsafe {
            let socket = (*raw(ctx)).__bindgen_anon_2.sk;
            if socket.is_null() { None } else { full(socket).map(Self) }
        }
    }

    /// The record in its storage. It lives as long as the frame holds the socket.
    #[inline(always)]
    pub fn record(self) -> Option<NonNull<FlowRecord>> {
        // SAFETY: a full socket, which is held.
        unsafe { stored(&SOCKETS, self.0) }
    }

    /// How far the peer's numbers are ahead, if the segments of its connection are translated in this namespace.
    #[inline(always)]
    pub fn ahead(self, namespace: u64) -> Option<u32> {
        // SAFETY: a full socket, which is held.
        unsafe { ahead_of(self.0, namespace) }
    }
}

#[inline(always)]
fn tuple(segment: &Segment) -> (bpf_sock_tuple, u32) {
    let (peer, local) = (&segment.peer.0, &segment.local.0);
    let (sport, dport) =
        (u16::from_ne_bytes(peer.port_bytes()), u16::from_ne_bytes(local.port_bytes()));
    let mut tuple = bpf_sock_tuple__bindgen_ty_1 {
        ipv6: bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
            saddr: peer.words(),
            daddr: local.words(),
            sport,
            dport,
        },
    };
    if segment.ipv6 {
        let size = size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>() as u32;
        return (bpf_sock_tuple { __bindgen_anon_1: tuple }, size);
    }
    let ([.., saddr], [.., daddr]) = (peer.words(), local.words());
    tuple.ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 { saddr, daddr, sport, dport };
    let size = size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>() as u32;
    (bpf_sock_tuple { __bindgen_anon_1: tuple }, size)
}
