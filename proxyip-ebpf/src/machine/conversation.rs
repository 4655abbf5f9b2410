//! A load balancer in the simulated kernel that sends any bytes of its stream in any order, and the server's answers.

use core::ops::Range;

use proxyip_common::{
    address::Endpoint,
    cookie::EPOCH_NS,
    counter::{Counter, DropReason},
    flow::HandOff,
    settings::{HandOffChoice, ListenerSettings, NamespaceSettings},
};

use super::{Fate, Machine, Run, endpoint};
use crate::host::{
    frame::{Checksum, Frame},
    sockets::{Kind, Socket},
    wire::{Segment, flags},
};
use crate::kernel::platform::{Basic, Modern};

/// Initial sequence number of the load balancer. The header begins in front of the number 0 and ends behind it.
pub(super) const ISN: u32 = 0xffff_fff0;
/// Nanoseconds in a second.
pub(super) const SECOND: u64 = 1_000_000_000;
/// How long a header may take.
pub(super) const HEADER_TIMEOUT: u64 = 5 * SECOND;
/// The first words behind the header.
pub(super) const QUESTION: &[u8] = b"who am I?\n";
/// The options of Linux's SYNs: MSS, SACK, timestamps, window scale.
pub(super) const LINUX: &[u8] = &[2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 9];

/// How connections are given to the application.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) choice: HandOffChoice,
    pub(super) hand_off: HandOff,
    pub(super) receive: fn(&mut Machine, Box<Frame>) -> Vec<Run>,
}

/// The kernel makes the socket from the segment that completes the header.
pub(super) const ACCEPT: Way = Way {
    name: "accept",
    choice: HandOffChoice::Auto,
    hand_off: HandOff::Accept,
    receive: Machine::receive::<Modern>,
};
/// The listener wants its connections translated.
pub(super) const TRANSLATE: Way = Way {
    name: "translate",
    choice: HandOffChoice::Translate,
    hand_off: HandOff::Translate,
    receive: Machine::receive::<Modern>,
};
/// A kernel that can do nothing else translates them.
pub(super) const BASIC: Way = Way {
    name: "translate on an old kernel",
    choice: HandOffChoice::Auto,
    hand_off: HandOff::Translate,
    receive: Machine::receive::<Basic>,
};
/// The application reads the header.
pub(super) const OBSERVE: Way = Way {
    name: "observe",
    choice: HandOffChoice::Observe,
    hand_off: HandOff::Observe,
    receive: Machine::receive::<Modern>,
};
/// The ways on which the header is consumed.
pub(super) const CONSUMING: [Way; 3] = [ACCEPT, TRANSLATE, BASIC];

/// The namespace that tests begin with.
const NAMESPACE: NamespaceSettings = NamespaceSettings {
    cookie: 0,
    epoch_ns: EPOCH_NS,
    nat_since_ns: 0,
    timestamp_offset: 0,
    window: 64_000,
    window_scale: 7,
    flags: NamespaceSettings::SYNCOOKIES
        | NamespaceSettings::TIMESTAMPS
        | NamespaceSettings::SACK
        | NamespaceSettings::WINDOW_SCALING
        | NamespaceSettings::CONNTRACK_LOOSE
        | NamespaceSettings::ECN,
};

/// The trusted load balancer's IPv4 end of the first connection, and the server's.
pub(super) fn ends4() -> (Endpoint, Endpoint) {
    (endpoint("10.0.0.2:40000"), endpoint("10.0.1.2:443"))
}

/// The same of IPv6.
pub(super) fn ends6() -> (Endpoint, Endpoint) {
    (endpoint("[fd00::2]:40000"), endpoint("[fd00:1::2]:443"))
}

/// A load balancer, a connection of its, and the host that it connects to.
pub(super) struct Conversation {
    pub(super) machine: Machine,
    pub(super) ends: (Endpoint, Endpoint),
    pub(super) way: Way,
    /// Sequence number of the first byte of the load balancer's stream.
    pub(super) start: u32,
    /// The number that the load balancer expects next.
    pub(super) acknowledgment: u32,
    /// TCP options of all segments but the SYN.
    pub(super) options: Vec<u8>,
    /// How many bytes of each frame the programs can read directly.
    pub(super) at_hand: usize,
    /// Fates of what was sent last.
    pub(super) fates: Vec<Fate>,
    /// Its marks, for the rules of a firewall.
    pub(super) marks: Vec<u32>,
}

impl Conversation {
    /// A host with a listener on port 443, which trusts the load balancer; nothing is sent yet.
    pub(super) fn new(way: Way, ends: (Endpoint, Endpoint)) -> Self {
        let mut machine = Machine::new(NAMESPACE);
        machine.trust(0, endpoint("10.0.0.0:0"), 96 + 8, true);
        machine.trust(0, endpoint("[fd00::]:0"), 64, true);
        machine.listen(443, false);
        machine.adjust(|state| state.now_ns = 10 * SECOND);
        let (start, acknowledgment) = (ISN.wrapping_add(1), 0);
        let mut new = Self {
            machine,
            ends,
            way,
            start,
            acknowledgment,
            options: Vec::new(),
            at_hand: 54,
            fates: Vec::new(),
            marks: Vec::new(),
        };
        new.configure(way);
        new
    }

    /// A connection over IPv4. For the load balancer its handshake is done.
    pub(super) fn opened(way: Way) -> Self {
        let mut new = Self::new(way, ends4());
        new.open(&[]);
        new
    }

    /// Configures the listener for a hand-off, for the connections that begin from now on.
    pub(super) fn configure(&mut self, way: Way) {
        self.way = way;
        self.guard_too(443);
    }

    /// Guards a port by the same listener.
    pub(super) fn guard_too(&mut self, port: u16) {
        let settings = ListenerSettings {
            flags: ListenerSettings::V1 | ListenerSettings::V2,
            hand_off: self.way.choice as u8,
            header_timeout_ns: HEADER_TIMEOUT,
            ..ListenerSettings::default()
        };
        self.machine.guard(port, 0, settings);
    }

    /// Gives the listener more flags of [`ListenerSettings`].
    pub(super) fn set_rules(&mut self, flags: u8) {
        let settings = ListenerSettings {
            flags: ListenerSettings::V1 | ListenerSettings::V2 | flags,
            hand_off: self.way.choice as u8,
            header_timeout_ns: HEADER_TIMEOUT,
            ..ListenerSettings::default()
        };
        self.machine.guard(443, 0, settings);
    }

    /// Shakes hands with these options in the SYN; returns the SYN-ACK.
    pub(super) fn open(&mut self, options: &[u8]) -> Segment {
        let answer = self.syn(options);
        let answers = self.send(0, flags::ACK, b"");
        assert_eq!(answers, [], "to a bare ACK");
        answer
    }

    /// Sends a SYN; returns the SYN-ACK.
    pub(super) fn syn(&mut self, options: &[u8]) -> Segment {
        let mut syn = self.segment(0, flags::SYN, b"");
        (syn.sequence, syn.acknowledgment) = (self.start.wrapping_sub(1), 0);
        syn.options = options.to_vec();
        let [answer] = &self.exchange(&syn)[..] else { panic!("one SYN-ACK") };
        assert_eq!((answer.flags, answer.acknowledgment), (flags::SYN | flags::ACK, self.start));
        self.acknowledgment = answer.sequence.wrapping_add(1);
        answer.clone()
    }

    /// Begins another connection from the same port; the sequence numbers of the last one are left behind.
    pub(super) fn begin_anew(&mut self) {
        self.start = self.start.wrapping_add(1_000_000);
        self.acknowledgment = 0;
    }

    /// The segment at this offset of the stream.
    pub(super) fn segment(&self, offset: i32, flags: u8, payload: &[u8]) -> Segment {
        let (peer, local) = self.ends;
        let sequence = self.start.wrapping_add_signed(offset);
        let mut segment = Segment::bare(peer, local, sequence, self.acknowledgment, flags);
        segment.payload = payload.to_vec();
        segment.options.clone_from(&self.options);
        segment
    }

    /// Sends the segment at this offset; returns what comes back.
    pub(super) fn send(&mut self, offset: i32, flags: u8, payload: &[u8]) -> Vec<Segment> {
        self.exchange(&self.segment(offset, flags, payload))
    }

    /// Sends these bytes of the stream; returns what comes back.
    pub(super) fn send_range(&mut self, stream: &[u8], range: Range<usize>) -> Vec<Segment> {
        let offset = i32::try_from(range.start).expect("a short stream");
        self.send(offset, flags::ACK, &stream[range])
    }

    /// Sends a part of a header, which must be acknowledged in this connection's numbers up to `upto`.
    pub(super) fn send_part(&mut self, stream: &[u8], range: Range<usize>, upto: usize) -> Segment {
        let what = format!("{}: bytes {range:?}", self.way.name);
        let answers = self.send_range(stream, range);
        self.expect_acknowledgment(&what, &answers, upto)
    }

    /// One bare acknowledgment of the first `upto` bytes, in this connection's numbers.
    pub(super) fn expect_acknowledgment(
        &self,
        what: &str,
        answers: &[Segment],
        upto: usize,
    ) -> Segment {
        let [answer] = answers else { panic!("{what}: {} answers", answers.len()) };
        assert_eq!(answer.flags, flags::ACK, "{what}");
        assert_eq!(answer.sequence, self.acknowledgment, "{what}");
        assert_eq!(answer.acknowledgment.wrapping_sub(self.start) as usize, upto, "{what}");
        assert_eq!((answer.source, answer.destination), (self.ends.1, self.ends.0), "{what}");
        assert_eq!(answer.payload, [], "{what}");
        answer.clone()
    }

    /// Sends a segment; returns what comes back, the checksums right.
    pub(super) fn exchange(&mut self, segment: &Segment) -> Vec<Segment> {
        self.fates = self.receive(Frame::new(segment.frame(), self.at_hand, Checksum::Complete));
        let read = |frame: Box<Frame>| {
            Segment::read(&frame.on_the_wire(), true).expect("a whole segment, its checksums right")
        };
        self.machine.sent().into_iter().map(read).collect()
    }

    /// Receives a frame; returns its fate, and that of all frames that it caused.
    pub(super) fn receive(&mut self, frame: Box<Frame>) -> Vec<Fate> {
        let runs = (self.way.receive)(&mut self.machine, frame);
        self.marks = runs.iter().map(|run| run.mark).collect();
        runs.iter().map(|run| run.fate).collect()
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, nanoseconds: u64) {
        self.machine.adjust(|state| state.now_ns += nanoseconds);
    }

    /// What the application has read; `None` if it has no connection.
    pub(super) fn received(&self) -> Option<Vec<u8>> {
        let read =
            |socket: &Socket| (socket.kind() == Kind::Connected).then(|| socket.received.clone());
        self.machine.socket(self.ends.0, self.ends.1, read).flatten()
    }

    /// Asserts that the application has read this on a connection of that client.
    pub(super) fn assert_served(&self, client: &str, bytes: &[u8]) {
        assert_eq!(self.received().as_deref(), Some(bytes), "{}", self.way.name);
        let record = self.machine.record(self.ends.0, self.ends.1).expect("a record of the flow");
        assert_eq!(record.client.0, endpoint(client), "{}", self.way.name);
        assert_eq!(record.hand_off, self.way.hand_off as u8, "{}", self.way.name);
    }

    /// Asserts that the answers are a RST alone, and that neither the application nor the kernel has a connection.
    pub(super) fn expect_reset(&self, what: &str, answers: &[Segment]) {
        self.expect_reset_of_peer(what, answers);
        // Under observe the kernel had the connection before its header was judged, and has to see the RST itself.
        let kind = self.machine.socket(self.ends.0, self.ends.1, Socket::kind);
        let way = self.way.name;
        assert!(self.way.hand_off == HandOff::Observe || kind.is_none(), "{way}, {what}: {kind:?}");
    }

    /// Asserts that the answers are a RST alone, and that no client is recorded. The kernel's own handshake may still wait.
    pub(super) fn expect_reset_of_peer(&self, what: &str, answers: &[Segment]) {
        let way = self.way.name;
        let [answer] = answers else { panic!("{way}, {what}: {} answers", answers.len()) };
        assert_ne!(answer.flags & flags::RST, 0, "{way}, {what}");
        assert_eq!(answer.sequence, self.acknowledgment, "{way}, {what}");
        assert_eq!(self.machine.records(), 0, "{way}, {what}");
    }

    /// What a counter says.
    pub(super) fn count(&self, counter: Counter) -> u64 {
        self.machine.counted(counter)
    }

    /// The refusals so far, each with its number.
    pub(super) fn drops(&self) -> Vec<(DropReason, u64)> {
        let reasons = DropReason::ALL.iter();
        let counted = reasons.map(|reason| (*reason, self.machine.dropped(*reason)));
        counted.filter(|(_, number)| *number != 0).collect()
    }
}
