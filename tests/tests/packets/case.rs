//! A case of the table.

use proxyip_common::counter::{Counter, DropReason};
use proxyip_common::settings::NamespaceSettings;
use proxyip_common::verdict::{Verdict, is_final};

use proxyip_tests::bench::{Count, Entry, Kernel, Program, SETTINGS};
use proxyip_tests::packet::{Packet, RST};

/// The expected result for a frame.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// It goes on as it is.
    Passed,
    /// It goes on as this.
    PassedAs(Vec<u8>),
    Dropped,
    /// It is queued, as it is, to be received again.
    QueuedAgain,
    /// It goes back as this. In the options of the answer, a timestamp of now is at this place.
    Answered(Box<Packet>, Option<usize>),
}

/// A frame, the program that sees it, and what is to become of it. Each counter that is not named stays as it is, and
/// so do the tables unless they are said to change.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) what: String,
    pub(crate) program: Program,
    pub(crate) frame: Vec<u8>,
    pub(crate) settings: NamespaceSettings,
    pub(crate) kernel: Option<(Kernel, Packet)>,
    pub(crate) before: Vec<Entry>,
    pub(crate) expected: Expected,
    pub(crate) counts: Vec<Count>,
    pub(crate) after: Option<Vec<Entry>>,
    /// A frame that goes out besides.
    pub(crate) sent: Option<Packet>,
    /// What the program at XDP knows of the link.
    pub(crate) neighbour: Next,
    /// As many segments of no handshake were answered as may be at a time.
    pub(crate) flooded: bool,
}

/// What the program at XDP knows of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The load balancer's Ethernet address was seen a moment ago.
    Seen,
    /// Nothing was seen.
    Unknown,
}

impl Case {
    /// A frame that passes as it is, and is not even counted.
    pub(crate) fn new(what: impl Into<String>, program: Program, frame: Vec<u8>) -> Self {
        Self {
            what: what.into(),
            program,
            frame,
            settings: SETTINGS,
            kernel: None,
            before: Vec::new(),
            expected: Expected::Passed,
            counts: Vec::new(),
            after: None,
            sent: None,
            neighbour: Next::Seen,
            flooded: false,
        }
    }

    /// Nothing has been sent to the load balancer yet.
    pub(crate) fn without_neighbour(mut self) -> Self {
        self.neighbour = Next::Unknown;
        self
    }

    /// As many segments of no handshake were answered as may be at a time.
    pub(crate) fn in_a_flood(mut self) -> Self {
        self.flooded = true;
        self
    }

    pub(crate) fn settings(mut self, settings: NamespaceSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The kernel has a socket that this SYN began.
    pub(crate) fn kernel(mut self, kernel: Kernel, syn: &Packet) -> Self {
        self.kernel = Some((kernel, syn.clone()));
        self
    }

    /// What is in the tables.
    pub(crate) fn before(mut self, entries: impl Into<Vec<Entry>>) -> Self {
        self.before = entries.into();
        self
    }

    /// What is in the tables then.
    pub(crate) fn after(mut self, entries: impl Into<Vec<Entry>>) -> Self {
        self.after = Some(entries.into());
        self
    }

    /// Counts this, and what goes with it.
    pub(crate) fn counts(mut self, count: impl Into<Count>) -> Self {
        let count = count.into();
        self.counts.push(count);
        self.counts.extend(match count {
            // The programs report none of these drops, so they are no outcomes of connections.
            Count::Drop(_) if self.program == Program::Egress => None,
            Count::Drop(reason) if !is_final(reason) => None,
            Count::Drop(reason) => Some(Count::Outcome(Verdict::on_refusal(reason))),
            Count::Counter(Counter::Established) => Some(Count::Outcome(Verdict::Accept)),
            Count::Counter(Counter::HandedOver) => Some(Count::Latency),
            _ => None,
        });
        self
    }

    pub(crate) fn dropped(mut self, count: impl Into<Count>) -> Self {
        self.expected = Expected::Dropped;
        self.counts(count)
    }

    pub(crate) fn passed_as(mut self, frame: Vec<u8>) -> Self {
        self.expected = Expected::PassedAs(frame);
        self
    }

    pub(crate) fn queued_again(mut self) -> Self {
        self.expected = Expected::QueuedAgain;
        self
    }

    /// Its header is good, and the program gives the connection to the kernel's TCP. The kernel function for this
    /// refuses every frame that did not come by an interface. The frames of this table did not: here, the connection
    /// is reset for that reason. The tests by the wire show the real result.
    pub(crate) fn handed_over(self, first: &Packet) -> Self {
        self.answered(DropReason::AssignRefused, first.reset())
    }

    /// Both ends are told that the connection is over.
    pub(crate) fn reset_both(self, reason: DropReason, packet: &Packet) -> Self {
        let reset = packet.with(|reset| {
            (reset.flags, reset.acknowledgment, reset.window, reset.urgent) = (RST, 0, 0, 0);
            (reset.options, reset.payload, reset.padding) = (Vec::new(), Vec::new(), Vec::new());
        });
        self.counts(reason).passed_as(reset.frame()).sends(packet.reset())
    }

    pub(crate) fn answered(mut self, count: impl Into<Count>, packet: Packet) -> Self {
        self.expected = Expected::Answered(Box::new(packet), None);
        self.counts(count)
    }

    /// Answered; in the options of the answer, a timestamp of now is at this place.
    pub(crate) fn answered_now(
        mut self,
        count: impl Into<Count>,
        packet: Packet,
        timestamp_at: Option<usize>,
    ) -> Self {
        self.expected = Expected::Answered(Box::new(packet), timestamp_at);
        self.counts(count)
    }

    pub(crate) fn sends(mut self, packet: Packet) -> Self {
        self.sent = Some(packet);
        self
    }
}
