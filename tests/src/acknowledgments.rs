//! Whether one end of a connection acknowledges exactly what the other has sent.

use std::collections::HashSet;
use std::path::Path;

use crate::pcap::{CapturedSegment, Pcap};

/// What one direction of a connection was acknowledged with. All numbers are relative to the sender's
/// initial sequence number.
#[derive(Debug, Default)]
pub struct Acknowledgments {
    /// Highest number acknowledged.
    pub acknowledged: u32,
    /// How many segments acknowledged something.
    pub segments: u32,
    /// How many SACK blocks they had.
    pub blocks: u32,
    /// How many of these reported a duplicate (D-SACK, RFC 2883).
    pub duplicates: u32,
    /// What was wrong.
    pub errors: Vec<String>,
    initial: Option<u32>,
    /// The number after the last one sent so far.
    sent: u32,
    /// Where segments began and ended. What is acknowledged are whole segments.
    edges: HashSet<u32>,
}

impl Acknowledgments {
    /// Reads a capture of one connection at or near the sender's end: `sender` and `receiver` are ports.
    ///
    /// # Panics
    /// When the file is no capture.
    #[must_use]
    pub fn read(capture: &Path, sender: u16, receiver: u16) -> Self {
        let mut this = Self::default();
        for segment in Pcap::read(capture).segments() {
            let ports = (segment.source.port(), segment.destination.port());
            if ports == (sender, receiver) {
                this.send(&segment);
            } else if ports == (receiver, sender) {
                this.acknowledge(&segment);
            }
        }
        this
    }

    fn send(&mut self, segment: &CapturedSegment) {
        if segment.syn() {
            self.initial = Some(segment.sequence);
        }
        let Some(initial) = self.initial else { return };
        let begin = segment.sequence.wrapping_sub(initial);
        let end = begin.wrapping_add(segment.numbers());
        self.edges.extend([begin, end]);
        self.sent = self.sent.max(end);
    }

    fn acknowledge(&mut self, segment: &CapturedSegment) {
        let Some(initial) = self.initial else { return };
        if !segment.ack() {
            return;
        }
        let relative = |number: u32| number.wrapping_sub(initial);
        let number = relative(segment.acknowledgment);
        self.segments += 1;
        self.acknowledged = self.acknowledged.max(number);
        self.expect_sent("acknowledgment", number);
        let blocks: Vec<_> = segment
            .blocks()
            .into_iter()
            .map(|(begin, end)| (relative(begin), relative(end)))
            .collect();
        for (index, (begin, end)) in blocks.iter().copied().enumerate() {
            self.blocks += 1;
            self.expect_sent("first number of a SACK block", begin);
            self.expect_sent("end of a SACK block", end);
            // RFC 2883 §4: the first block is a duplicate if it is below the acknowledgment or within the
            // second. Linux leaves others below it only when it acknowledges the end of the stream.
            let within = |outer: &(u32, u32)| outer.0 <= begin && end <= outer.1;
            let duplicate = index == 0 && (end <= number || blocks.get(1).is_some_and(within));
            self.duplicates += u32::from(duplicate);
            if begin >= end || (!duplicate && begin <= number && number < end) {
                self.error(format!("SACK block {begin}-{end} beside acknowledgment {number}"));
            }
        }
    }

    fn expect_sent(&mut self, what: &str, number: u32) {
        if number == 0 || number > self.sent {
            self.error(format!("{what} {number}, but only 1-{} was sent", self.sent));
        } else if !self.edges.contains(&number) {
            self.error(format!("{what} {number} is no edge of a segment"));
        }
    }

    fn error(&mut self, error: String) {
        // The first ones are enough.
        if self.errors.len() < 20 {
            self.errors.push(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;

    fn segment(sequence: u32, flags: u8, length: u32) -> CapturedSegment {
        CapturedSegment {
            source: ([10, 0, 0, 1], 1).into(),
            destination: ([10, 0, 0, 2], 2).into(),
            sequence,
            acknowledgment: 0,
            flags,
            window: 0,
            checksum: 0,
            options: Vec::new(),
            length,
            payload: Vec::new(),
            time: Duration::ZERO,
        }
    }

    /// RFC 2018 §3.
    fn sack_option(blocks: &[(u32, u32)]) -> Vec<u8> {
        let length = u8::try_from(2 + 8 * blocks.len()).expect("at most four blocks");
        let numbers = blocks.iter().flat_map(|(begin, end)| [begin, end]);
        let numbers = numbers.flat_map(|number| number.to_be_bytes());
        [1, 1, 5, length].into_iter().chain(numbers).collect()
    }

    /// A peer that has sent a SYN and three segments of 100 bytes, and is answered like this.
    fn answered(number: u32, blocks: &[(u32, u32)]) -> Acknowledgments {
        let initial = u32::MAX - 100;
        let mut seen = Acknowledgments::default();
        seen.send(&segment(initial, SYN, 0));
        for begin in [1, 101, 201] {
            seen.send(&segment(initial.wrapping_add(begin), ACK, 100));
        }
        let absolute = |number: u32| number.wrapping_add(initial);
        let blocks = blocks.iter().map(|(begin, end)| (absolute(*begin), absolute(*end)));
        let options = match blocks.collect::<Vec<_>>().as_slice() {
            [] => Vec::new(),
            blocks => sack_option(blocks),
        };
        let acknowledgment = absolute(number);
        seen.acknowledge(&CapturedSegment { acknowledgment, options, ..segment(0, ACK, 0) });
        seen
    }

    #[test]
    fn what_was_sent_may_be_acknowledged() {
        for (number, blocks, duplicates) in [
            (301, [].as_slice(), 0),
            (101, &[(201, 301)], 0),
            (301, &[(101, 201)], 1),
            (1, &[(101, 201), (101, 301)], 1),
        ] {
            let seen = answered(number, blocks);
            assert_eq!((&seen.errors, seen.duplicates), (&Vec::new(), duplicates), "{blocks:?}");
        }
    }

    #[test]
    fn anything_else_is_an_error() {
        for (number, blocks) in [
            (0, [].as_slice()),
            (302, &[]),
            (201 - 28, &[]),
            (101, &[(201 - 28, 301 - 28)]),
            (101, &[(201, 301 + 28)]),
            (101, &[(301, 201)]),
            (101, &[(1, 201)]),
        ] {
            assert!(!answered(number, blocks).errors.is_empty(), "{number} {blocks:?}");
        }
    }
}
