//! The meaning of a fuzzer's bytes: a configuration, and what happens then.
//!
//! Every input is valid, and each byte has one meaning, so that seeds can be written by hand. There are six bytes of
//! configuration, then two streams with their lengths before them, then steps. Each step is a byte for its kind, and
//! its arguments. Numbers are in network order.

use crate::sample;

/// One run.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// How the host is configured.
    pub configuration: Configuration,
    /// What the peers send, as input of [`sample::bytes`]: a header, or what looks like one. A request follows it.
    pub streams: [Vec<u8>; 2],
    /// What happens, one after the other.
    pub steps: Vec<Step>,
}

/// How the host is configured.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent of one another")]
pub struct Configuration {
    /// Whether the kernel is one with `bpf_sk_assign_tcp_reqsk()`.
    pub modern: bool,
    /// The listener's choice of hand-off, modulo 4.
    pub hand_off: u8,
    /// How the listener treats untrusted sources, modulo 3.
    pub untrusted: u8,
    /// The listener's flags. Those of the header's versions are complemented.
    pub refuses: u8,
    /// Sysctls of the namespace that are off, as the complement of its flags.
    pub off: u8,
    /// Whether the application listens with MPTCP.
    pub mptcp: bool,
    /// Whether tables hold next to nothing.
    pub small_tables: bool,
    /// Whether nobody reads events.
    pub events_full: bool,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A peer sends its SYN.
    Syn(Flow, Form),
    /// A peer sends the handshake's bare ACK, or another without payload.
    Ack(Flow, Form),
    /// A peer sends its stream from its beginning, up to so many bytes.
    First(Flow, u16, Form),
    /// A peer sends some of its stream: from here, so many bytes.
    Data(Flow, u16, u16, Form),
    /// A peer sends a keep-alive probe.
    Probe(Flow, Form),
    /// A peer sends any flags, perhaps with payload.
    Any(Flow, u8, u16, u16, Form),
    /// A frame of any bytes comes.
    Raw(Vec<u8>, Form),
    /// A frame of any bytes behind the headers comes.
    Payload(Flow, Vec<u8>, Form),
    /// Time passes, in quarters of seconds.
    Wait(u16),
    /// One of the next calls of helpers fails.
    Fail(u8),
    /// The socket is gone.
    Forget(Flow),
    /// The flow is in `TIME_WAIT`.
    TimeWait(Flow),
    /// The routing table sends the host's addresses elsewhere, or not.
    Route(bool),
    /// The listener leaves the configuration, or comes back.
    Retire(bool),
    /// The application sends some bytes, a multiple of 65,537, and the peer acknowledges them.
    Answer(Flow, u16),
}

/// Which of the peers, modulo their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow(pub u8);

/// How a segment deviates from the ordinary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// The TCP options, modulo how many there are.
    pub options: u8,
    /// Deviations that are rare: each of the upper bits is one.
    pub odd: u8,
    /// How far the checksum is known, and how many bytes are at hand.
    pub skb: u8,
}

/// More steps are not read.
const MOST_STEPS: usize = 48;

impl Input {
    /// Reads an input.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let cursor = &mut Cursor(bytes);
        let configuration = Configuration::read(cursor);
        let streams = [cursor.bytes(), cursor.bytes()];
        let mut steps = Vec::new();
        while !cursor.0.is_empty() && steps.len() < MOST_STEPS {
            steps.push(Step::read(cursor));
        }
        Self { configuration, streams, steps }
    }

    /// The bytes that are read as this.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = self.configuration.write().to_vec();
        self.streams.iter().for_each(|stream| put(&mut bytes, stream));
        self.steps.iter().for_each(|step| step.write(&mut bytes));
        bytes
    }

    /// What the peers send.
    #[must_use]
    pub fn streams(&self) -> [Vec<u8>; 2] {
        self.streams.clone().map(|stream| {
            let mut stream = sample::bytes(&stream);
            stream.truncate(5000);
            stream.extend(b"GET / HTTP/1.1\r\n\r\n");
            stream
        })
    }
}

impl Configuration {
    fn read(cursor: &mut Cursor<'_>) -> Self {
        let [bits, hand_off, untrusted, refuses, off] = std::array::from_fn(|_| cursor.byte());
        Self {
            modern: bits & 1 == 0,
            hand_off,
            untrusted,
            refuses,
            off,
            mptcp: bits & 2 != 0,
            small_tables: bits & 4 != 0,
            events_full: bits & 8 != 0,
        }
    }

    fn write(self) -> [u8; 5] {
        let bits = u8::from(!self.modern)
            | u8::from(self.mptcp) << 1
            | u8::from(self.small_tables) << 2
            | u8::from(self.events_full) << 3;
        [bits, self.hand_off, self.untrusted, self.refuses, self.off]
    }
}

/// Reads and writes the steps, in one list.
macro_rules! steps {
    ($($number:literal $name:ident($($operand:ident: $read:ident),*))*) => {
        impl Step {
            fn read(cursor: &mut Cursor<'_>) -> Self {
                match cursor.byte() % 15 {
                    $($number => Self::$name($(cursor.$read()),*),)*
                    _ => unreachable!("less than 15"),
                }
            }

            fn write(&self, bytes: &mut Vec<u8>) {
                match self {
                    $(Self::$name($($operand),*) => {
                        bytes.push($number);
                        $($operand.put(bytes);)*
                    })*
                }
            }
        }
    };
}

steps! {
    0 Syn(flow: flow, form: form)
    1 Ack(flow: flow, form: form)
    2 First(flow: flow, length: number, form: form)
    3 Data(flow: flow, from: number, length: number, form: form)
    4 Probe(flow: flow, form: form)
    5 Any(flow: flow, flags: byte, from: number, length: number, form: form)
    6 Raw(bytes: bytes, form: form)
    7 Payload(flow: flow, bytes: bytes, form: form)
    8 Wait(quarters: number)
    9 Fail(call: byte)
    10 Forget(flow: flow)
    11 TimeWait(flow: flow)
    12 Route(forwarded: bit)
    13 Retire(retired: bit)
    14 Answer(flow: flow, length: number)
}

/// What has not been read; zeroes follow it.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bit(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.number() & 0x1fff).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes.to_vec()
    }

    fn flow(&mut self) -> Flow {
        Flow(self.byte())
    }

    fn form(&mut self) -> Form {
        Form { options: self.byte(), odd: self.byte(), skb: self.byte() }
    }
}

fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend((bytes.len() as u16).to_be_bytes());
    to.extend(bytes);
}

trait Put {
    fn put(&self, to: &mut Vec<u8>);
}

macro_rules! put {
    ($($type:ty: |$value:ident, $to:ident| $put:expr;)*) => {$(
        impl Put for $type {
            fn put(&self, $to: &mut Vec<u8>) {
                let $value = self;
                $put;
            }
        }
    )*};
}

put! {
    u8: |value, to| to.push(*value);
    bool: |value, to| to.push((*value).into());
    u16: |value, to| to.extend(value.to_be_bytes());
    Vec<u8>: |value, to| put(to, value);
    Flow: |value, to| to.push(value.0);
    Form: |value, to| to.extend([value.options, value.odd, value.skb]);
}
