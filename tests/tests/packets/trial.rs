//! The trial of cases: it tries every case, and reports every wrong one.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use etherparse::{SlicedPacket, TransportSlice};
use proxyip_common::cookie;
use proxyip_common::settings::NamespaceSettings;
use proxyip_tests::bench::{Bench, Outcome, Program, await_room_in_epoch, now_ns, on_bench};
use proxyip_tests::packet::ECE;

use crate::case::{Case, Expected, Next};

/// How long the cases of a theme take at most.
const ROOM: Duration = Duration::from_secs(20);

impl Case {
    /// Runs it; what is wrong, a line each.
    fn wrongs(&self, bench: &mut Bench) -> Vec<String> {
        bench.tables.reset(self.settings, &self.before);
        bench.drain();
        if let Some((kernel, syn)) = &self.kernel {
            bench.prepare(*kernel, syn);
        }
        bench.tables.forget_neighbours();
        if self.program.is_at_xdp() && self.neighbour == Next::Seen {
            bench.tables.see_neighbours(bench.interface);
        }
        if self.flooded {
            bench.tables.set_flooded(true);
        }
        let begin = clock(&self.settings);
        let outcome = bench.run(self.program, &self.frame);
        let end = clock(&self.settings);
        let mut wrongs = self.wrong_outcome(&outcome, begin..=end);

        let counted = bench.tables.counts();
        let expected: Vec<_> = self.counts.iter().map(|count| (*count, 1)).collect();
        if !same(&counted, &expected) {
            wrongs.push(format!("counted {counted:?}, expected {expected:?}"));
        }
        let (after, expected) =
            (bench.tables.entries(), self.after.as_ref().unwrap_or(&self.before));
        if !same(&after, expected) {
            wrongs.push(format!("the tables hold {after:?}, expected {expected:?}"));
        }
        if let Some(packet) = &self.sent
            && !bench.sends(&packet.frame())
        {
            wrongs.push(format!("this was not sent: {}", describe(&packet.frame())));
        }
        wrongs
    }

    fn wrong_outcome(&self, outcome: &Outcome, clock: RangeInclusive<u32>) -> Vec<String> {
        let [next, drop, answer] = match self.program {
            // `TCX_NEXT`, `TCX_DROP`, `TCX_REDIRECT`.
            Program::Ingress | Program::IngressBasic | Program::Egress => [-1, 2, 7],
            // `XDP_PASS`, `XDP_DROP`, `XDP_TX`.
            Program::Xdp | Program::XdpGeneric => [2, 1, 3],
        };
        let (verdict, frames) = match &self.expected {
            Expected::Passed => (next, vec![self.frame.clone()]),
            Expected::PassedAs(frame) => (next, vec![frame.clone()]),
            Expected::QueuedAgain => (answer, vec![self.frame.clone()]),
            Expected::Dropped => (drop, Vec::new()),
            Expected::Answered(packet, None) => (answer, vec![packet.frame()]),
            Expected::Answered(packet, Some(at)) => {
                let at_time = |time: u32| {
                    let place = *at..at + 4;
                    let stamp = cookie::stamp(time, u32::from(packet.flags & ECE != 0));
                    packet.with(|one| one.options[place].copy_from_slice(&stamp.to_be_bytes()))
                };
                (answer, clock.map(|time| at_time(time).frame()).collect())
            }
        };
        let mut wrongs = Vec::new();
        if outcome.verdict != verdict {
            wrongs.push(format!("verdict {}, expected {verdict}", outcome.verdict));
        }
        if let Some(expected) = frames.first()
            && !frames.contains(&outcome.frame)
        {
            wrongs.push(format!("got      {}", describe(&outcome.frame)));
            wrongs.push(format!("expected {}", describe(expected)));
        }
        wrongs
    }
}

/// The clock of the programs' timestamps.
fn clock(settings: &NamespaceSettings) -> u32 {
    let milliseconds = u32::try_from((now_ns() / 1_000_000) & 0xffff_ffff).expect("32 bits");
    milliseconds.wrapping_add(settings.timestamp_offset)
}

/// Whether both hold the same, in any order.
pub(crate) fn same<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    one.len() == other.len() && one.iter().all(|item| other.contains(item))
}

/// The readable fields of a frame, then its bytes.
fn describe(frame: &[u8]) -> String {
    let mut text = String::new();
    if let Ok(packet) = SlicedPacket::from_ethernet(frame)
        && let Some(TransportSlice::Tcp(tcp)) = packet.transport
    {
        let (from, to) = (tcp.source_port(), tcp.destination_port());
        let flags = tcp.slice()[13];
        let (sequence, acknowledgment) = (tcp.sequence_number(), tcp.acknowledgment_number());
        let (sum, payload) = (tcp.checksum(), tcp.payload().len());
        let _ = write!(
            text,
            "{from} to {to} flags {flags:#04x} seq {sequence:#x} ack {acknowledgment:#x} \
             checksum {sum:#x} options {:02x?} payload {payload}; ",
            tcp.options()
        );
    }
    for byte in frame {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Tries each of these cases whose program this kernel can load. If any are wrong, panics with all of them.
pub(crate) fn hold(theme: &str, cases: impl FnOnce() -> Vec<Case> + Send) {
    on_bench(|bench| {
        await_room_in_epoch(ROOM);
        let mut cases = cases();
        let of_all_kernels = cases.len();
        cases.retain(|case| case.program.is_possible());
        if cases.len() < of_all_kernels {
            print(&format!("{theme}: {} more cases need Linux 6.9", of_all_kernels - cases.len()));
        }
        let mut wrong = Vec::new();
        for case in &cases {
            let wrongs = case.wrongs(bench);
            if !wrongs.is_empty() {
                let what = format!("{}, {}", case.program.name(), case.what);
                wrong.push(format!("{what}\n    {}", wrongs.join("\n    ")));
            }
        }
        report(theme, cases.len(), &wrong);
    });
}

/// Says how many cases there were. If any were wrong, panics with all of them.
pub(crate) fn report(theme: &str, cases: usize, wrong: &[String]) {
    print(&format!("{theme}: {cases} cases, {} wrong", wrong.len()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Not by a macro: the test harness would keep its output to itself.
fn print(line: &str) {
    let line = format!("packet table, {line}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}
