//! Sends the same segment, with other ports and numbers, as fast as the link takes it. On a veth pair the receiver's work
//! is done within the call, so that the time is that of both.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proxyip_tests::packet::{ACK, ETHERNET, Packet, SYN};
use proxyip_tests::{BURST, Flooder, Site, address};

use crate::scene;

/// Where fields of the TCP header stand in a frame over IPv4.
const PORT: usize = ETHERNET + 20;
const SEQUENCE: usize = PORT + 4;
const ACKNOWLEDGMENT: usize = PORT + 8;
const CHECKSUM: usize = PORT + 16;

/// MSS, SACK permitted, timestamps and window scale, as Linux sends them.
const OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Syn,
    /// It acknowledges a number that nobody has sent.
    ForgedAck,
}

impl Segment {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Syn => "SYN",
            Self::ForgedAck => "forged ACK",
        }
    }
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    elapsed: Duration,
}

impl Sent {
    pub(crate) const fn elapsed(&self) -> Duration {
        self.elapsed
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.elapsed += other.elapsed;
    }

    /// For each packet.
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    pub(crate) fn nanoseconds(&self) -> f64 {
        self.elapsed.as_secs_f64() * 1e9 / self.packets as f64
    }
}

/// A trusted source that sends no honest segment.
pub(crate) struct Sender(Flooder);

impl Sender {
    pub(crate) fn new(site: &Site) -> Self {
        Self(Flooder::new(site))
    }

    /// Floods a port of the server.
    pub(crate) fn send(&self, segment: Segment, port: u16, duration: Duration) -> Sent {
        let mut forge = Forge::new(segment, &self.template(segment, port));
        let mut frames = vec![forge.template.clone(); BURST];
        let (begin, mut packets) = (Instant::now(), 0);
        while begin.elapsed() < duration {
            for frame in &mut frames {
                forge.change(frame);
            }
            self.0.send_frames(&frames);
            packets += BURST as u64;
        }
        Sent { packets, elapsed: begin.elapsed() }
    }

    /// The port and the numbers are zero.
    fn template(&self, segment: Segment, port: u16) -> Vec<u8> {
        let from = SocketAddr::new(address::BALANCER.parse().expect("an address"), 0);
        let flags = if segment == Segment::Syn { SYN } else { ACK };
        let packet = Packet {
            ethernet: self.0.ethernet(),
            sequence: 0,
            options: OPTIONS.to_vec(),
            ..Packet::new(from, scene::target(port).into(), flags)
        };
        packet.frame()
    }
}

/// Makes each segment differ from the others.
struct Forge {
    segment: Segment,
    template: Vec<u8>,
    /// Of all that does not change.
    sum: u32,
    random: u32,
}

impl Forge {
    fn new(segment: Segment, template: &[u8]) -> Self {
        let checksum = u16::from_be_bytes([template[CHECKSUM], template[CHECKSUM + 1]]);
        let (template, sum) = (template.to_vec(), u32::from(!checksum));
        Self { segment, template, sum, random: 0x5eed }
    }

    fn change(&mut self, frame: &mut [u8]) {
        // Marsaglia's xorshift with 32 bits.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let port = 10_000 + (self.random >> 16) % 50_000;
        let number = self.random;
        let halves = (number >> 16) + (number & 0xffff);
        frame[PORT..PORT + 2].copy_from_slice(&port.to_be_bytes()[2..]);
        frame[SEQUENCE..SEQUENCE + 4].copy_from_slice(&number.to_be_bytes());
        let mut sum = self.sum + port + halves;
        if self.segment == Segment::ForgedAck {
            frame[ACKNOWLEDGMENT..ACKNOWLEDGMENT + 4].copy_from_slice(&number.to_be_bytes());
            sum += halves;
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        let checksum = !sum;
        frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes()[2..]);
    }
}
