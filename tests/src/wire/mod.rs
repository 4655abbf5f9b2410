//! A link that loses, doubles and reorders what it carries.

mod tap;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use tap::Tap;

use crate::namespace::Namespace;

/// The longest frame that a TAP interface carries, bytes.
const LONGEST: usize = 65_536;
/// A frame that was held back waits no longer for others to overtake it.
const PATIENCE: Duration = Duration::from_millis(2);
/// How often an idle link looks whether it is to end.
const IDLE: Duration = Duration::from_millis(50);

/// A wire that, of a hundred TCP segments in each direction, loses two and sends one twice. Two more are overtaken by
/// up to five others. The same seed makes the same choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Where the pseudo-random numbers begin.
    pub seed: u64,
}

/// The two ends are Ethernet interfaces; a thread for each direction is the cable.
#[derive(Debug)]
pub(crate) struct Wire {
    cut: Arc<AtomicBool>,
    carried: Vec<JoinHandle<()>>,
}

impl Wire {
    /// Makes both interfaces and connects them.
    pub(crate) fn new(one: (&Namespace, &str), other: (&Namespace, &str), faults: Faults) -> Self {
        eprintln!("a wire with {faults:?}");
        let ends = [one, other].map(|(namespace, name)| Arc::new(Tap::new(namespace, name)));
        let cut = Arc::new(AtomicBool::new(false));
        let directions = [(0, 1, faults.seed), (1, 0, !faults.seed)];
        let carried = directions.map(|(from, to, seed)| {
            let (from, to) = (Arc::clone(&ends[from]), Arc::clone(&ends[to]));
            let cut = Arc::clone(&cut);
            thread::spawn(move || Direction::new(&to, seed).carry(&from, &cut))
        });
        Self { cut, carried: carried.into() }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut.store(true, Ordering::Relaxed);
        self.carried.drain(..).for_each(|thread| thread.join().expect("a wire does not panic"));
    }
}

/// One direction of a wire.
struct Direction<'a> {
    to: &'a Tap,
    random: u64,
    /// Frames held back, each with the number of frames that may still overtake it.
    held: VecDeque<(u8, Vec<u8>)>,
}

impl<'a> Direction<'a> {
    fn new(to: &'a Tap, seed: u64) -> Self {
        Self { to, random: seed.max(1), held: VecDeque::new() }
    }

    fn carry(&mut self, from: &Tap, cut: &AtomicBool) {
        let mut buffer = vec![0; LONGEST];
        while !cut.load(Ordering::Relaxed) {
            let patience = if self.held.is_empty() { IDLE } else { PATIENCE };
            match from.read(&mut buffer, patience) {
                Some(length) if is_tcp(&buffer[..length]) => self.treat(&buffer[..length]),
                Some(length) => self.to.write(&buffer[..length]),
                None => self.held.drain(..).for_each(|(_, frame)| self.to.write(&frame)),
            }
        }
    }

    fn treat(&mut self, frame: &[u8]) {
        match self.next_random() % 100 {
            0..2 => {}
            2 => {
                self.pass(frame);
                self.to.write(frame);
            }
            3..5 => {
                let overtaken_by = 1 + (self.next_random() % 5).to_le_bytes()[0];
                self.held.push_back((overtaken_by, frame.to_vec()));
            }
            _ => self.pass(frame),
        }
    }

    /// Sends a frame. Then it sends each held frame that enough others have overtaken now.
    fn pass(&mut self, frame: &[u8]) {
        self.to.write(frame);
        self.held.iter_mut().for_each(|(left, _)| *left -= 1);
        let to = self.to;
        self.held.retain(|(left, held)| {
            if *left == 0 {
                to.write(held);
            }
            *left > 0
        });
    }

    /// xorshift64.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// Whether an Ethernet frame holds TCP; address resolution is left in peace.
fn is_tcp(frame: &[u8]) -> bool {
    const TCP: u8 = 6;
    match frame {
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x08, 0x00, packet @ ..] => {
            packet.get(9) == Some(&TCP)
        }
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x86, 0xdd, packet @ ..] => {
            packet.get(6) == Some(&TCP)
        }
        _ => false,
    }
}
