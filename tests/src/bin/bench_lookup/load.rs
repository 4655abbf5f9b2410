//! A load generator that works and measures as
//! [`redis-benchmark`](https://github.com/redis/redis/blob/7.0/src/redis-benchmark.c) does: one thread, an event
//! loop, a closed loop on each connection. Each turn reads all answers that have come, before it sends new requests.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// What is asked, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Connections.
    pub(crate) connections: usize,
    /// Requests that each has under way.
    pub(crate) pipelined: usize,
    /// Requests in all.
    pub(crate) requests: usize,
    /// Lines of an answer.
    pub(crate) lines: usize,
}

/// Requests made beforehand, one behind the other: the generator must not be what is measured.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    /// Where each begins, and the end of the last.
    bounds: Vec<usize>,
    next: usize,
}

impl Requests {
    /// So many, which `write` appends one by one.
    pub(crate) fn new(number: usize, mut write: impl FnMut(&mut Vec<u8>)) -> Self {
        let mut requests = Self::default();
        for _ in 0..number {
            requests.bounds.push(requests.bytes.len());
            write(&mut requests.bytes);
        }
        requests.bounds.push(requests.bytes.len());
        requests
    }

    /// The next so many; after the last comes the first again.
    fn take(&mut self, number: usize) -> &[u8] {
        if self.next + number >= self.bounds.len() {
            self.next = 0;
        }
        let range = self.bounds[self.next]..self.bounds[self.next + number];
        self.next += number;
        &self.bytes[range]
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speed {
    /// Answers per second.
    pub(crate) per_second: f64,
    /// From writing a connection's requests until the first of their answers can be read, median, in seconds: reading
    /// it is not the server's work.
    pub(crate) latency: f64,
}

struct Connection {
    stream: UnixStream,
    missing: usize,
    asked: Instant,
    /// Once the first answer is there.
    latency: Option<Duration>,
}

impl Load {
    /// Asks the server on `socket`; `write` appends a request.
    ///
    /// # Panics
    /// When the server is not there, or stops answering for 20 seconds.
    pub(crate) fn run(&self, socket: &Path, requests: &mut Requests) -> Speed {
        let epoll = Epoll::new(EpollCreateFlags::empty()).expect("epoll");
        let connect = |number| {
            let stream = UnixStream::connect(socket).expect("a server");
            stream.set_nonblocking(true).expect("a socket");
            let event = EpollEvent::new(EpollFlags::EPOLLIN, number);
            epoll.add(&stream, event).expect("epoll takes sockets");
            Connection { stream, missing: 0, asked: Instant::now(), latency: None }
        };
        let mut connections: Vec<_> = (0..self.connections as u64).map(connect).collect();
        let batches = self.requests / self.pipelined;
        let mut latencies = Vec::with_capacity(batches);
        let mut answers = vec![0; 64 * 1024];
        let mut ask = |connection: &mut Connection| {
            connection.missing = self.pipelined * self.lines;
            let requests = requests.take(self.pipelined);
            (connection.asked, connection.latency) = (Instant::now(), None);
            connection.stream.write_all(requests).expect("a socket has room for what is asked");
        };
        let start = Instant::now();
        connections.iter_mut().for_each(&mut ask);
        let mut events = vec![EpollEvent::empty(); self.connections];
        let mut answered = Vec::with_capacity(self.connections);
        while latencies.len() < batches {
            let patience = EpollTimeout::try_from(Duration::from_secs(20)).expect("a time");
            let ready = epoll.wait(&mut events, patience).expect("epoll");
            assert!(ready > 0, "the server does not answer");
            for event in &events[..ready] {
                let index = usize::try_from(event.data()).expect("an index");
                let connection = &mut connections[index];
                let latency = *connection.latency.get_or_insert_with(|| connection.asked.elapsed());
                let length = connection.stream.read(&mut answers).expect("answers");
                assert!(length > 0, "the server has closed the connection");
                let ends = answers[..length].iter().map(|byte| usize::from(*byte == b'\n'));
                connection.missing -= ends.sum::<usize>();
                if connection.missing == 0 {
                    latencies.push(latency.as_secs_f64());
                    answered.push(index);
                }
            }
            for index in answered.drain(..) {
                ask(&mut connections[index]);
            }
        }
        let took = start.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "some millions")]
        let per_second = (latencies.len() * self.pipelined) as f64 / took;
        Speed { per_second, latency: median(&mut latencies) }
    }
}

/// The median of some numbers.
pub(crate) fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
