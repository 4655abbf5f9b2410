//! The host around the programs: it gives them frames, and does what they say.

#[cfg(test)]
mod anew_tests;
#[cfg(test)]
mod conversation;
#[cfg(test)]
mod cookie_tests;
#[cfg(test)]
mod counting_tests;
#[cfg(test)]
mod damaged_tests;
#[cfg(test)]
mod denial_tests;
#[cfg(test)]
mod drain_tests;
#[cfg(test)]
mod ecn_tests;
#[cfg(test)]
mod ended_tests;
#[cfg(test)]
mod event_tests;
#[cfg(test)]
mod fallback_tests;
#[cfg(test)]
mod flood_tests;
#[cfg(test)]
mod function_tests;
#[cfg(test)]
mod headers;
#[cfg(test)]
mod long_tests;
mod looks;
#[cfg(test)]
mod meanwhile_tests;
#[cfg(test)]
mod nat_tests;
#[cfg(test)]
mod own_tests;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod quick_tests;
#[cfg(test)]
mod segment_tests;
#[cfg(test)]
mod sockopt_tests;
#[cfg(test)]
mod split_end_tests;
#[cfg(test)]
mod split_tests;
mod stack;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod xdp_pass_tests;
#[cfg(test)]
mod xdp_tests;

use core::{mem::take, net::SocketAddr};

use proxyip_common::{
    address::{Endpoint, Local, Peer},
    cookie::Secret,
    flow::FlowKey,
    policy::{PolicyWords, set_word},
    settings::{
        DrainedPort, Fallback, HELD, ListenerSettings, NamespaceSettings, PlacedPort, Policy,
        RETIRED, ScopedAddress,
    },
};

use crate::host::{
    bindings::{
        BPF_ANY,
        tcx_action_base::{TCX_DROP, TCX_NEXT, TCX_REDIRECT},
        xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    },
    frame::{Checksum, Frame},
    maps::lpm_trie::Key,
    programs::{TcContext, XdpContext},
    sockets::{Kind, Socket, ends},
    state::{self, Redirect, State},
    wire::Segment,
};
use crate::{
    frame::ports::PORTS,
    hooks::{egress, ingress, xdp},
    kernel::{packet::QUEUED_MARK, platform::Platform},
    state::{
        fallbacks::FALLBACKS,
        listeners::{DRAINED, LISTENERS},
        namespace::NAMESPACES,
        networks::{CLIENTS, SETS, TRUSTED},
        parts::HEADER_BYTES,
        policies::POLICIES,
        secrets::SECRETS,
    },
};

pub use crate::host::state::NAMESPACE_COOKIE;

/// Bits of a VLAN's number.
const VLAN_BITS: u32 = 12;

/// What the ingress program did with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The stack has got it.
    Passed,
    /// It is gone.
    Dropped,
    /// It was made an answer, and sent.
    Sent,
    /// It will come again.
    Queued,
}

/// One run of the ingress program.
#[derive(Debug)]
pub struct Run {
    /// What happened to the frame.
    pub fate: Fate,
    /// The frame as it came.
    pub before: Vec<u8>,
    /// The frame as the program left it.
    pub after: Vec<u8>,
    /// Its mark, for the rules of a firewall.
    pub mark: u32,
    /// What was found for it, when it came.
    pub socket: Option<Kind>,
}

/// The one host of this thread.
pub struct Machine(());

impl Machine {
    /// A host on which nothing listens and nobody is trusted.
    pub fn new(settings: NamespaceSettings) -> Self {
        state::reset();
        let settings = NamespaceSettings { cookie: NAMESPACE_COOKIE, ..settings };
        put(NAMESPACES.get_ptr_mut(0), settings);
        state::with(|state| {
            state.egress = send;
            state.sysctls = state::Sysctls {
                window_scaling: settings.has(NamespaceSettings::WINDOW_SCALING),
                sack: settings.has(NamespaceSettings::SACK),
                timestamps: settings.has(NamespaceSettings::TIMESTAMPS),
            };
        });
        Self(())
    }

    /// Gives a port to a listener of the configuration.
    pub fn guard(&mut self, port: u16, listener: u16, settings: ListenerSettings) {
        put(PORTS.get_ptr_mut(port.into()), listener + 1);
        put(LISTENERS.get_ptr_mut(listener.into()), settings);
        self.judge_by(listener, Policy::default());
    }

    /// Lets a listener judge by a policy, whose scope is set here.
    pub fn judge_by(&mut self, listener: u16, policy: Policy) {
        let policy = Policy { scope: listener.into(), ..policy };
        let words = PolicyWords::new(listener, &policy);
        self.undisturbed(|| POLICIES.insert(u32::from(listener), words, BPF_ANY.into()));
    }

    /// Drains a listener's port, or all, as a command does.
    pub fn drain(&mut self, listener: u16, port: u16) {
        let element = LISTENERS.get_ptr_mut(listener.into()).expect("an index within the map");
        // SAFETY: an element of a map, of a plain type.
        unsafe { (*element).flags |= ListenerSettings::DRAINS };
        let port = DrainedPort { listener, port };
        self.undisturbed(|| DRAINED.insert(port, 1, BPF_ANY.into()));
    }

    /// Has the connections to a port translated for a while.
    pub fn fall_back(&mut self, at: PlacedPort, fallback: Fallback) {
        self.undisturbed(|| FALLBACKS.insert(at, fallback, BPF_ANY.into()));
    }

    /// Says that there are rules of NAT, changed at this moment.
    pub fn change_nat(&mut self, redirected: Option<(u16, u16)>) {
        let now_ns = self.adjust(|state| {
            state.redirected = redirected;
            state.now_ns += 1;
            state.now_ns
        });
        let settings = NAMESPACES.get_ptr_mut(0).expect("the namespace's settings");
        // SAFETY: an element of the map, of a plain type.
        unsafe { (*settings).nat_since_ns = now_ns };
    }

    /// Has the programs serve another network namespace, where sockets and frames come from this one.
    pub fn move_elsewhere(&mut self) {
        let settings = NAMESPACES.get_ptr_mut(0).expect("the namespace's settings");
        // SAFETY: an element of the map, of a plain type.
        unsafe { (*settings).cookie += 1 };
    }

    /// Takes a port out of the configuration; what is translated goes on.
    pub fn retire(&mut self, port: u16) {
        put(PORTS.get_ptr_mut(port.into()), RETIRED);
    }

    /// Takes a port out of the configuration. Nothing of it is translated.
    pub fn unguard(&mut self, port: u16) {
        put(PORTS.get_ptr_mut(port.into()), 0);
    }

    /// Lets nothing through to a port for the moment.
    pub fn hold(&mut self, port: u16) {
        put(PORTS.get_ptr_mut(port.into()), HELD);
    }

    /// Lets a listener trust the sources of a prefix, of an IPv6 or IPv4-mapped address, or not.
    pub fn trust(&mut self, listener: u16, source: Endpoint, bits: u32, trusted: bool) {
        let source = ScopedAddress::new(listener.into(), &source);
        TRUSTED.insert(&Key::new(32 + bits, source), trusted.into());
    }

    /// Gives a listener a verdict on the clients of a prefix, of an IPv6 or IPv4-mapped address.
    pub fn judge(&mut self, listener: u16, client: Endpoint, bits: u32, verdict: u8) {
        let client = ScopedAddress::new(listener.into(), &client);
        CLIENTS.insert(&Key::new(32 + bits, client), verdict);
    }

    /// Gives a set its members, which are the clients of a listener's scope that are allowed.
    pub fn make_set(&mut self, set: u32, scope: u32) {
        self.undisturbed(|| SETS.insert(set, set_word(set, scope), BPF_ANY.into()));
    }

    /// Does what the agent does: the failure that is ahead is one of the programs' helpers.
    fn undisturbed(&mut self, change: impl FnOnce() -> Result<(), i32>) {
        let failure = self.adjust(|state| take(&mut state.failure));
        change().expect("room");
        self.adjust(|state| state.failure = failure);
    }

    /// Puts a secret for cookies in place.
    pub fn secret(&mut self, slot: u32, secret: Secret) {
        put(SECRETS.get_ptr_mut(slot), secret);
    }

    /// Listens on a port.
    pub fn listen(&mut self, port: u16, mptcp: bool) {
        let kind = if mptcp { Kind::ListeningMptcp } else { Kind::Listening };
        self.adjust(|state| state.sockets.listening.insert(port, Socket::new(kind)));
    }

    /// Changes the socket that listens on a port.
    pub fn listener(&mut self, port: u16, change: impl FnOnce(&mut Socket)) {
        self.adjust(|state| {
            change(state.sockets.listening.get_mut(&port).expect("a socket that listens"));
        });
    }

    /// Makes a socket for a flow; nothing else is known about the flow.
    pub fn occupy(&mut self, peer: Endpoint, local: Endpoint, kind: Kind) {
        self.adjust(|state| state.sockets.flows.insert(ends(peer, local), Socket::new(kind)));
    }

    /// Takes the flow's socket away, as a timer would.
    pub fn forget(&mut self, peer: Endpoint, local: Endpoint) {
        match self.socket(peer, local, Socket::kind) {
            Some(Kind::Connected) => stack::close(peer, local),
            _ => drop(self.adjust(|state| state.sockets.flows.remove(&ends(peer, local)))),
        }
    }

    /// Changes anything else.
    pub fn adjust<R>(&mut self, change: impl FnOnce(&mut State) -> R) -> R {
        state::with(change)
    }

    /// Reads something of a flow's own socket.
    pub fn socket<R>(
        &self,
        peer: Endpoint,
        local: Endpoint,
        read: impl FnOnce(&Socket) -> R,
    ) -> Option<R> {
        state::with(|state| state.sockets.flows.get(&ends(peer, local)).map(|socket| read(socket)))
    }

    /// Lets the application send so many bytes. Nobody sees them, but they are counted.
    pub fn count_sent(&mut self, peer: Endpoint, local: Endpoint, bytes: u32) {
        self.adjust(|state| {
            let socket = state.sockets.flows.get_mut(&ends(peer, local)).expect("a connection");
            socket.sent = socket.sent.wrapping_add(bytes);
        });
    }

    /// Forgets the bytes of a header that has begun, as if another had needed their place.
    pub fn forget_header_bytes(&mut self, peer: Endpoint, local: Endpoint) {
        let key = FlowKey::new(NAMESPACE_COOKIE, Peer(peer), Local(local));
        HEADER_BYTES.remove(key).expect("bytes of a header that has begun");
    }

    /// Receives a frame, and all that it makes come.
    pub fn receive<P: Platform>(&mut self, frame: Box<Frame>) -> Vec<Run> {
        /// A frame comes in, its clone once, and what is behind it once or twice.
        const MOST: usize = 8;
        let mut runs = Vec::new();
        state::with(|state| state.queued.push_back(frame));
        while let Some(frame) = state::with(|state| state.queued.pop_front()) {
            runs.push(receive_one::<P>(frame));
            assert!(runs.len() < MOST, "a frame comes back for ever");
        }
        runs
    }

    /// Gives a frame to the program at XDP. What it lets pass comes in; what it sends back is sent.
    pub fn receive_at_xdp<P: Platform>(&mut self, mut frame: Box<Frame>) -> Vec<Run> {
        let (before, interface) = (frame.bytes().to_vec(), XdpContext::of(&mut frame));
        let verdict = xdp::run(&interface);
        state::with(|state| state.sockets.assert_released());
        let after = frame.bytes().to_vec();
        let fate = match verdict {
            XDP_PASS => {
                assert_eq!(before, after, "what passes is as it came");
                return self.receive::<P>(frame);
            }
            XDP_DROP => Fate::Dropped,
            XDP_TX => {
                // By the device: nothing completes its checksum, and no program at egress sees it.
                state::with(|state| state.sent.push(Frame::new(after.clone(), 0, Checksum::None)));
                Fate::Sent
            }
            _ => panic!("{verdict} is no verdict"),
        };
        vec![Run { fate, before, after, mark: 0, socket: None }]
    }

    /// What was sent since the last time.
    pub fn sent(&mut self) -> Vec<Box<Frame>> {
        self.adjust(|state| core::mem::take(&mut state.sent))
    }
}

/// An address and a port, from text.
pub fn endpoint(text: &str) -> Endpoint {
    text.parse::<SocketAddr>().expect("an address and a port").into()
}

fn put<T>(element: Option<*mut T>, value: T) {
    let element = element.expect("an index within the map");
    // SAFETY: an element of a map, of a plain type.
    unsafe { element.write(value) };
}

fn receive_one<P: Platform>(mut frame: Box<Frame>) -> Run {
    let before = frame.bytes().to_vec();
    // What is of a VLAN is for that interface.
    let own = frame.fields().vlan_tci.trailing_zeros() >= VLAN_BITS;
    let segment = Segment::read(&before, false).filter(|_| own);
    let socket = segment.and_then(|segment| {
        let (peer, local) = (segment.source, segment.destination);
        state::with(|state| state.sockets.find(peer, local).map(|socket| socket.kind()))
    });
    state::with(|state| state.redirect = None);
    let verdict = ingress::run::<P>(&TcContext::new(&mut frame));
    state::with(|state| state.sockets.assert_released());
    let after = frame.bytes().to_vec();
    let mark = frame.fields().mark;
    let fate = match verdict {
        TCX_NEXT => {
            assert!(frame.is_consistent(), "the device's sum is not that of the frame");
            assert_ne!(frame.fields().tc_index, QUEUED_MARK, "others would see our mark");
            if own {
                stack::receive(&frame);
            }
            Fate::Passed
        }
        TCX_DROP => Fate::Dropped,
        TCX_REDIRECT => redirect(frame),
        _ => panic!("{verdict} is no verdict"),
    };
    Run { fate, before, after, mark, socket }
}

fn redirect(mut frame: Box<Frame>) -> Fate {
    let redirect = state::with(|state| state.redirect.take());
    frame.request = None;
    match redirect.expect("a program that redirects says where") {
        Redirect::Neighbour(_) => {
            state::transmit(frame);
            Fate::Sent
        }
        Redirect::Ingress(_) => {
            state::with(|state| state.queued.push_back(frame));
            Fate::Queued
        }
    }
}

/// Sends a frame as the egress program lets it go.
fn send(mut frame: Box<Frame>) {
    let verdict = egress::run(&TcContext::new(&mut frame));
    frame.release_sender();
    match verdict {
        TCX_NEXT => state::with(|state| state.sent.push(frame)),
        TCX_DROP => {}
        _ => panic!("{verdict} is no verdict"),
    }
}
