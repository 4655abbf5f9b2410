//! The kernel programs on a simulated host.
//!
//! A fuzzer's bytes decide how the host is configured, what four peers send, and the order in which segments come.
//! The programs must keep the promises in `promises.rs`. The simulated kernel checks what the verifier checks, and
//! AddressSanitizer checks memory.

mod frames;
pub mod input;
mod lives;
mod peer;
mod promises;

use std::net::{Ipv4Addr, SocketAddr};

use proxyip_common::{
    cookie::EPOCH_NS,
    settings::{HandOffChoice, ListenerSettings, NamespaceSettings, Policy},
};
use proxyip_ebpf::{
    host::{
        bindings::{BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_SUCCESS},
        frame::Frame,
        sockets::{Kind, Socket},
        wire::{Segment, flags},
    },
    kernel::platform::{Basic, Modern},
    machine::Machine,
};

use self::{
    frames::{is_honest, is_signed},
    input::{Configuration, Flow, Form, Input, Step},
    peer::{GUARDED, Life, Peer, peers},
};

/// A host and its peers.
struct Site {
    machine: Machine,
    peers: [Peer; 4],
    configuration: Configuration,
    /// Whether nothing has happened that lets the programs leave connections to the kernel.
    steady: bool,
}

/// Runs one input; returns what the application has read of each peer that it is connected with.
pub fn check(input: &Input) -> Vec<Option<Vec<u8>>> {
    let mut site = Site::new(input);
    for step in &input.steps {
        site.step(step);
        site.check_peers();
    }
    site.received()
}

impl Site {
    fn new(input: &Input) -> Self {
        let configuration = input.configuration;
        let mut machine = Machine::new(NamespaceSettings {
            cookie: 0,
            epoch_ns: EPOCH_NS,
            nat_since_ns: 0,
            timestamp_offset: 77,
            window: 65_535,
            window_scale: 7,
            flags: 0x1f & !configuration.off,
        });
        guard(&mut machine, configuration);
        let prefix = |ip: Ipv4Addr| SocketAddr::new(ip.to_ipv6_mapped().into(), 0);
        machine.trust(0, prefix([10, 0, 0, 0].into()).into(), 96 + 8, true);
        machine.trust(
            0,
            "[2001:db8::]:0".parse::<SocketAddr>().expect("an address").into(),
            32,
            true,
        );
        for slot in 0..4 {
            machine.secret(slot, [slot.into(), 7]);
        }
        machine.listen(GUARDED, configuration.mptcp);
        machine.adjust(|state| {
            state.events_full = configuration.events_full;
            if configuration.small_tables {
                state.largest_table = 1;
            }
        });
        let peers = peers(input.streams());
        Self { machine, peers, configuration, steady: true }
    }

    fn received(&self) -> Vec<Option<Vec<u8>>> {
        let connected =
            |socket: &Socket| (socket.kind() == Kind::Connected).then(|| socket.received.clone());
        let read = |peer: &Peer| self.machine.socket(peer.ends.0, peer.ends.1, connected).flatten();
        self.peers.iter().map(read).collect()
    }

    fn choice(&self) -> u8 {
        self.configuration.hand_off & 3
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Syn(flow, form) => {
                self.peer(flow).begin_anew();
                self.send(flow, form, Peer::syn);
            }
            Step::Ack(flow, form) => self.send(flow, form, |peer| peer.segment(flags::ACK, 0, 0)),
            Step::First(flow, length, form) => {
                self.send(flow, form, |peer| peer.segment(flags::ACK, 0, length.into()));
            }
            Step::Data(flow, from, length, form) => self.send(flow, form, |peer| {
                let from = usize::from(from) % (peer.stream.len() + 1);
                peer.segment(flags::ACK, from, length.into())
            }),
            Step::Probe(flow, form) => self.send(flow, form, Peer::probe),
            Step::Any(flow, flags, from, length, form) => {
                self.peer(flow).honest &= flags & (flags::SYN | flags::RST | flags::FIN) == 0;
                self.send(flow, form, |peer| peer.segment(flags, from.into(), length.into()));
            }
            Step::Raw(ref bytes, form) => {
                self.receive(frames::skb(bytes.clone(), form));
            }
            Step::Payload(flow, ref bytes, form) => {
                self.peer(flow).honest = false;
                self.send(flow, form, |peer| Segment {
                    payload: bytes.clone(),
                    ..peer.segment(flags::ACK, 0, 0)
                });
            }
            Step::Wait(quarters) => {
                self.machine.adjust(|state| state.now_ns += u64::from(quarters) * 250_000_000);
            }
            Step::Fail(call) => self.machine.adjust(|state| state.failure = u32::from(call % 32)),
            Step::Forget(flow) if self.is_open(flow) => {
                // What has ended cannot be remembered if that fails.
                let fails = self.machine.adjust(|state| state.failure != 0);
                self.peer(flow).honest &= !fails;
                self.peer(flow).life = Life::Gone;
                let (peer, local) = self.peer(flow).ends;
                self.machine.forget(peer, local);
            }
            Step::Forget(flow) => {
                self.lose(flow, |machine, (peer, local)| machine.forget(peer, local));
            }
            Step::Answer(flow, length) if self.is_open(flow) => {
                let bytes = 65_537 * u32::from(length);
                let (peer, local) = self.peer(flow).ends;
                self.machine.count_sent(peer, local, bytes);
                self.peer(flow).acknowledge(bytes);
            }
            Step::Answer(..) => {}
            Step::TimeWait(flow) => {
                self.lose(flow, |machine, (peer, local)| {
                    machine.occupy(peer, local, Kind::TimeWait);
                });
            }
            Step::Route(forwarded) => {
                self.steady = false;
                let route =
                    if forwarded { BPF_FIB_LKUP_RET_SUCCESS } else { BPF_FIB_LKUP_RET_NOT_FWDED };
                self.machine.adjust(|state| state.route = route.into());
            }
            Step::Retire(retired) => {
                self.steady = false;
                if retired {
                    self.machine.retire(GUARDED);
                } else {
                    guard(&mut self.machine, self.configuration);
                }
            }
        }
    }

    fn of(&self, flow: Flow) -> &Peer {
        &self.peers[usize::from(flow.0) % 4]
    }

    fn peer(&mut self, flow: Flow) -> &mut Peer {
        &mut self.peers[usize::from(flow.0) % 4]
    }

    /// Something happens to a socket of the host. The peer does not know about it.
    fn lose(&mut self, flow: Flow, happens: impl FnOnce(&mut Machine, Ends)) {
        self.peer(flow).honest = false;
        let ends = self.peer(flow).ends;
        happens(&mut self.machine, ends);
    }

    /// Whether the flow's connection is the application's.
    fn is_open(&self, flow: Flow) -> bool {
        let peer = self.of(flow);
        let (life, (own, local)) = (peer.life, peer.ends);
        life == Life::Open && self.machine.socket(own, local, Socket::kind) == Some(Kind::Connected)
    }

    fn send(&mut self, flow: Flow, form: Form, make: impl FnOnce(&Peer) -> Segment) {
        let peer = self.peer(flow);
        peer.honest &= is_honest(form) && !is_signed(form);
        let segment = make(peer);
        let owed = if frames::vlan(form) == 0 { self.owed_reset(flow, &segment) } else { None };
        let sent = self.receive(frames::frame(segment, form));
        if let Some(reset) = owed {
            lives::check_reset(&reset, &sent);
        }
    }

    /// Receives a frame; returns what is sent for it.
    fn receive(&mut self, frame: Box<Frame>) -> Vec<Segment> {
        let damaged = promises::is_damaged(&frame);
        let segment = Segment::read(frame.bytes(), false);
        if let Some(segment) = &segment {
            self.suspect(segment);
        }
        let fails = self.machine.adjust(|state| state.failure != 0);
        let runs = if self.configuration.modern {
            self.machine.receive::<Modern>(frame)
        } else {
            self.machine.receive::<Basic>(frame)
        };
        if fails && self.machine.adjust(|state| state.failure == 0) {
            self.doubt(segment.as_ref());
        }
        let sent = self.machine.sent();
        for run in &runs {
            self.check_run(run);
            if damaged {
                promises::check_damaged(run);
            }
        }
        assert!(!damaged || sent.is_empty(), "a damaged segment is answered");
        for frame in &sent {
            promises::check_sent(frame, &runs);
        }
        let sent = sent.iter().map(|frame| Segment::read(&frame.on_the_wire(), true));
        let sent: Vec<_> = sent.flatten().collect();
        for peer in &mut self.peers {
            for segment in &sent {
                peer.hear(segment);
            }
        }
        self.check_acknowledgments(&sent);
        self.note_openings();
        sent
    }

    /// A helper has failed for this segment. If it opens a connection, nothing may be known of it, and its end cannot be
    /// remembered.
    fn doubt(&mut self, segment: Option<&Segment>) {
        let ends = segment.map(|segment| (segment.source, segment.destination));
        for peer in &mut self.peers {
            peer.honest &= ends != Some(peer.ends);
        }
    }

    /// A frame of any bytes may be a peer's, which that has not sent.
    fn suspect(&mut self, segment: &Segment) {
        for peer in &mut self.peers {
            let ours = (segment.source, segment.destination) == peer.ends;
            peer.honest &= !ours || segment.flags & flags::SYN != 0 || peer.has_sent(segment);
        }
    }
}

type Ends = (proxyip_common::address::Endpoint, proxyip_common::address::Endpoint);

fn guard(machine: &mut Machine, configuration: Configuration) {
    machine.guard(GUARDED, 0, settings(configuration));
    machine.judge_by(0, Policy { untrusted: configuration.untrusted % 3, ..Policy::default() });
}

fn settings(configuration: Configuration) -> ListenerSettings {
    let flags = !configuration.refuses & (ListenerSettings::V1 | ListenerSettings::V2)
        | configuration.refuses
            & (ListenerSettings::REFUSE_UNKNOWN
                | ListenerSettings::FALLS_BACK
                | ListenerSettings::UNKNOWN_IS_LOCAL
                | ListenerSettings::HEADERLESS_IS_LOCAL);
    ListenerSettings {
        flags,
        hand_off: configuration.hand_off & 3,
        header_timeout_ns: 5_000_000_000,
        ..ListenerSettings::default()
    }
}

/// The choice of hand-off that leaves headers in place.
const OBSERVE: u8 = HandOffChoice::Observe as u8;
/// The choice that leaves some connections to the kernel.
const ACCEPT: u8 = HandOffChoice::Accept as u8;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Seeds that end before the first promise would be worth nothing.
    #[test]
    fn seeds_reach_the_application() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/packet");
        let unconnected = [
            "late",
            "no-header",
            "another-port",
            "untrusted",
            "forgotten",
            "reset",
            "headerless-broken",
        ];
        for seed in fs::read_dir(seeds).unwrap() {
            let seed = seed.unwrap();
            let received = check(&Input::read(&fs::read(seed.path()).unwrap()));
            let name = seed.file_name().into_string().unwrap();
            let reached = received.iter().flatten().any(|received| !received.is_empty());
            assert_eq!(reached, !unconnected.contains(&&name[..]), "{name}");
        }
    }

    #[test]
    fn inputs_are_read_as_they_were_written() {
        let bytes =
            fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/packet/again")).unwrap();
        assert_eq!(Input::read(&bytes).write(), bytes);
    }
}
