//! What the simulated kernel knows, besides the contents of maps.

pub mod ring;

use std::{cell::RefCell, collections::VecDeque};

use super::{frame::Frame, maps, sockets::Sockets};

/// The cookie of the host's network namespace.
pub const NAMESPACE_COOKIE: u64 = 0x1234;

/// Where a frame goes when the program is through; the number is an interface's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// It comes in again.
    Ingress(u32),
    /// It is sent to whom the routing table names.
    Neighbour(u32),
}

/// The state of one thread's kernel.
pub struct State {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    /// MTU of the interface, in bytes.
    pub mtu: u32,
    /// What `bpf_fib_lookup()` answers.
    pub route: i64,
    /// What the last `bpf_redirect()` or its sibling said.
    pub redirect: Option<Redirect>,
    /// Clones that wait for the interface's ingress.
    pub queued: VecDeque<Box<Frame>>,
    /// How many bytes of a frame that a socket sends programs can read directly.
    pub at_hand: usize,
    /// The interface's egress, which may have a program.
    pub egress: fn(Box<Frame>),
    /// Frames that have left through the interface's egress.
    pub sent: Vec<Box<Frame>>,
    /// Sockets.
    pub sockets: Sockets,
    /// NAT: the port whose connections are redirected, and the one that they are redirected to.
    pub redirected: Option<(u16, u16)>,
    /// Whether listening sockets have no room for a connection.
    pub accept_queue_full: bool,
    /// Sysctls that the kernel looks at when it takes a connection from a program.
    pub sysctls: Sysctls,
    /// How many elements a hash table holds at most.
    pub largest_table: usize,
    /// Which of the next helper calls that can fail does so, from 1; 0 for none.
    pub failure: u32,
    /// Events for the agent, as bytes.
    pub events: Vec<Vec<u8>>,
    /// Whether the ring buffer is full.
    pub events_full: bool,
}

/// `net.ipv4.tcp_*`.
#[derive(Clone, Copy)]
pub struct Sysctls {
    /// `tcp_window_scaling`.
    pub window_scaling: bool,
    /// `tcp_sack`.
    pub sack: bool,
    /// `tcp_timestamps`.
    pub timestamps: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            now_ns: 0,
            mtu: 1500,
            route: super::bindings::BPF_FIB_LKUP_RET_NOT_FWDED.into(),
            redirect: None,
            queued: VecDeque::new(),
            at_hand: usize::MAX,
            egress: |frame| with(|state| state.sent.push(frame)),
            sent: Vec::new(),
            sockets: Sockets::default(),
            redirected: None,
            accept_queue_full: false,
            sysctls: Sysctls { window_scaling: true, sack: true, timestamps: true },
            largest_table: usize::MAX,
            failure: 0,
            events: Vec::new(),
            events_full: false,
        }
    }
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Does something with the state.
pub fn with<R>(act: impl FnOnce(&mut State) -> R) -> R {
    STATE.with(|state| act(&mut state.borrow_mut()))
}

/// Begins anew: no socket, no frame, empty maps.
pub fn reset() {
    with(|state| *state = State::default());
    maps::clear();
}

/// Whether this call of a helper, which can fail, is the one that does.
pub(crate) fn fails() -> bool {
    with(|state| {
        let fails = state.failure == 1;
        state.failure = state.failure.saturating_sub(1);
        fails
    })
}

/// Sends a frame through the interface's egress.
pub fn transmit(frame: Box<Frame>) {
    let egress = with(|state| state.egress);
    egress(frame);
}
