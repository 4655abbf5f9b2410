//! A class of packets: a packet that stands for it, and what must come of it.

use proxyip_common::flow::FlowRecord;
use proxyip_tests::bench::{Count, Entry, Kernel, Program};
use proxyip_tests::packet::Packet;

/// `TCX_NEXT`: the packet goes on.
pub(crate) const NEXT: i32 = -1;
/// `TCX_DROP`.
pub(crate) const DROP: i32 = 2;
/// `TCX_REDIRECT`: the packet has become an answer.
pub(crate) const REDIRECT: i32 = 7;

/// Packets for which a program does the same work.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub(crate) name: String,
    pub(crate) runs: Runs,
    /// What the kernel has of the flow that this SYN begins.
    pub(crate) socket: Option<(Kernel, Packet)>,
    pub(crate) case: Case,
    /// What differs from `case` in one thing. The program must treat it differently. Every class has one that is not
    /// counted, because otherwise nothing would show that the program works at all.
    pub(crate) contrast: Option<Case>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runs {
    /// A program that all namespaces share.
    Program(Program),
    /// The program in front of it, which calls it.
    Front(Program),
    /// The yardstick's unit.
    Reference,
}

/// A packet, and what must come of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) frame: Vec<u8>,
    /// `tc_index`, by which the ingress program marks what it queues.
    pub(crate) index: u32,
    /// Whether any connection of the host has been translated.
    pub(crate) in_use: bool,
    /// Whether as many segments of no handshake were answered as may be. `None` if that says nothing to the class.
    pub(crate) flooded: Option<bool>,
    /// What is in the tables.
    pub(crate) before: Vec<Entry>,
    /// What is in the storage of the socket.
    pub(crate) record: Option<FlowRecord>,
    /// By how much the segments of the socket are shifted, as its storage says.
    pub(crate) ahead: Option<u32>,
    pub(crate) verdict: i32,
    /// The frame afterwards.
    pub(crate) becomes: Becomes,
    /// Each run adds one to these counters, and nothing to others.
    pub(crate) counts: Vec<Count>,
    /// What is in the tables then.
    pub(crate) leaves: Vec<Entry>,
}

/// A frame after its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Becomes {
    Same,
    This(Vec<u8>),
    /// Whatever it was turned into. The packet table knows each byte of it.
    Other,
}

impl Case {
    /// It goes on as it is, and nothing is counted.
    pub(crate) fn passes(frame: Vec<u8>) -> Self {
        Self {
            frame,
            index: 0,
            in_use: false,
            flooded: None,
            before: Vec::new(),
            record: None,
            ahead: None,
            verdict: NEXT,
            becomes: Becomes::Same,
            counts: Vec::new(),
            leaves: Vec::new(),
        }
    }

    /// The tables hold this, before and after.
    pub(crate) fn with(self, entries: &[Entry]) -> Self {
        let (before, leaves) = (entries.to_vec(), entries.to_vec());
        Self { in_use: true, before, leaves, ..self }
    }

    /// The storage of the socket holds this.
    pub(crate) fn record(self, record: FlowRecord) -> Self {
        Self { record: Some(record), ..self }
    }

    /// The socket's storage says that its segments are shifted by so much.
    pub(crate) fn ahead(self, ahead: u32) -> Self {
        Self { ahead: Some(ahead), ..self }
    }

    /// In a flood, or not.
    pub(crate) fn flooded(self, flooded: bool) -> Self {
        Self { flooded: Some(flooded), ..self }
    }

    /// The tables hold this afterwards.
    pub(crate) fn leaves(self, entries: &[Entry]) -> Self {
        Self { leaves: entries.to_vec(), ..self }
    }

    pub(crate) fn counts(mut self, count: impl Into<Count>) -> Self {
        self.counts.push(count.into());
        self
    }

    pub(crate) fn drops(self) -> Self {
        Self { verdict: DROP, ..self }
    }

    pub(crate) fn becomes(self, packet: &Packet) -> Self {
        Self { becomes: Becomes::This(packet.frame()), ..self }
    }

    /// The frame is turned into an answer.
    pub(crate) fn answers(self) -> Self {
        Self { verdict: REDIRECT, becomes: Becomes::Other, ..self }
    }

    /// The ingress program has queued the frame.
    pub(crate) fn queued(self) -> Self {
        /// `QUEUED_MARK` of the kernel programs.
        const MARK: u32 = 0x5050;
        Self { index: MARK, ..self }
    }

    /// Whether the outcome shows that the program has looked at more than the ports.
    fn is_seen(&self) -> bool {
        !self.counts.is_empty() || self.becomes != Becomes::Same || self.leaves != self.before
    }
}

impl Class {
    pub(crate) fn new(name: impl Into<String>, runs: Runs, case: Case) -> Self {
        let name = name.into();
        Self { name, runs, socket: None, case, contrast: None }
    }

    /// One that the ingress program of this kernel sees.
    pub(crate) fn ingress(name: impl Into<String>, case: Case) -> Self {
        Self::new(name, Runs::Program(Program::best_ingress()), case)
    }

    pub(crate) fn egress(name: impl Into<String>, case: Case) -> Self {
        Self::new(name, Runs::Program(Program::Egress), case)
    }

    /// The kernel has this of the flow.
    pub(crate) fn socket(self, kernel: Kernel, syn: &Packet) -> Self {
        Self { socket: Some((kernel, syn.clone())), ..self }
    }

    /// Connections of the host have been translated.
    pub(crate) fn in_use(mut self) -> Self {
        self.case.in_use = true;
        self
    }

    pub(crate) fn unlike(self, contrast: Case) -> Self {
        Self { contrast: Some(contrast), ..self }
    }

    /// How many units of work a run does.
    pub(crate) fn units(&self) -> f64 {
        /// `UNITS` of the yardstick.
        const REFERENCE: f64 = 16.0;
        if self.runs == Runs::Reference { REFERENCE } else { 1.0 }
    }

    /// Whether a program that did something else would be noticed.
    pub(crate) fn can_fail(&self) -> bool {
        self.case.is_seen()
            || self.contrast.as_ref().is_some_and(Case::is_seen)
            || self.runs == Runs::Reference
    }
}
