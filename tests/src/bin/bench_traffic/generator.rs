//! A load generator: one thread, an event loop, and a closed loop on each connection. It must be leaner than anything
//! that it measures.

use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, connect, recv, send, setsockopt,
    socket, sockopt,
};

use proxyip_tests::time_worked;

use crate::clients::{Greeting, Visitors};

/// Connections that are open at any moment.
pub(crate) const CONNECTIONS: usize = 64;

/// A connection that waits longer for an answer has failed.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often this is looked at.
const LOOK: u8 = 50;

const REQUEST: &[u8] = b"GET /client HTTP/1.1\r\nHost: server\r\n\r\n";
const LAST_REQUEST: &[u8] = b"GET /client HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n";
const GOOD: &[u8] = b"HTTP/1.1 200 ";

/// How a connection is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// One request, then a new connection.
    Once,
    /// One request after the other.
    Always,
}

/// What is done, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) target: SocketAddrV4,
    pub(crate) each: Use,
    pub(crate) visitors: Visitors,
    pub(crate) duration: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Answers within the time, each on its own connection under [`Use::Once`].
    pub(crate) answers: u64,
    /// All answers: some come when the time is over.
    pub(crate) answers_in_all: u64,
    /// Connections that failed, or had no answer or another one than they should.
    pub(crate) errors: u64,
    pub(crate) elapsed: Duration,
    /// What all processors of the host have worked in that time.
    pub(crate) worked: Duration,
}

impl Outcome {
    /// Processor time of the whole host for each answer.
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    pub(crate) fn nanoseconds_worked(&self) -> f64 {
        self.worked.as_secs_f64() * 1e9 / self.answers as f64
    }

    /// Answers per second.
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    pub(crate) fn rate(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }
}

impl Load {
    /// Does it, from the network namespace of this thread.
    ///
    /// # Panics
    /// When the kernel has no sockets left.
    pub(crate) fn run(self) -> Outcome {
        let mut generator = Generator::new(self);
        let (begin, before) = (Instant::now(), time_worked());
        for index in 0..CONNECTIONS {
            let connection = generator.open(index);
            generator.connections.push(Some(connection));
        }
        while generator.now < begin + self.duration {
            generator.step();
        }
        let (answers, elapsed) = (generator.answers, begin.elapsed());
        let worked = time_worked().saturating_sub(before);
        generator.ending = true;
        while generator.connections.iter().any(Option::is_some) {
            generator.step();
        }
        let (answers_in_all, errors) = (generator.answers, generator.errors);
        Outcome { answers, answers_in_all, errors, elapsed, worked }
    }
}

struct Connection {
    socket: OwnedFd,
    /// Whether the first request was sent, with the header before it.
    begun: bool,
    /// When it was opened or the last request was sent.
    since: Instant,
    /// The body of each answer.
    expected: Vec<u8>,
}

struct Generator {
    load: Load,
    target: SockaddrIn,
    epoll: Epoll,
    /// Those that have ended for good are none.
    connections: Vec<Option<Connection>>,
    greeting: Greeting,
    buffer: Vec<u8>,
    /// When the last events came: asking the clock for each request would take time.
    now: Instant,
    looked: Instant,
    /// Whether nothing new is begun.
    ending: bool,
    answers: u64,
    errors: u64,
}

impl Generator {
    fn new(load: Load) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::empty()).expect("epoll");
        let greeting = Greeting::new(load.visitors, load.target);
        let (target, buffer) = (SockaddrIn::from(load.target), vec![0; 16_384]);
        let (connections, now) = (Vec::with_capacity(CONNECTIONS), Instant::now());
        let (looked, ending, answers, errors) = (now, false, 0, 0);
        Self {
            load,
            target,
            epoll,
            connections,
            greeting,
            buffer,
            now,
            looked,
            ending,
            answers,
            errors,
        }
    }

    /// A connection that ends with a RST, so that no port waits for anything.
    fn open(&self, index: usize) -> Connection {
        let flags = SockFlag::SOCK_NONBLOCK;
        let opened = socket(AddressFamily::Inet, SockType::Stream, flags, None);
        let socket = opened.expect("a socket");
        setsockopt(&socket, sockopt::TcpNoDelay, &true).expect("an option of TCP");
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&socket, sockopt::Linger, &linger).expect("an option of sockets");
        // Whatever fails comes as an event.
        let _ = connect(socket.as_raw_fd(), &self.target);
        let wanted = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        let event = EpollEvent::new(wanted, index as u64);
        self.epoll.add(&socket, event).expect("epoll takes sockets");
        Connection { socket, begun: false, since: self.now, expected: Vec::new() }
    }

    /// Waits for events, and handles them.
    fn step(&mut self) {
        let mut events = [EpollEvent::empty(); CONNECTIONS];
        let ready = self.epoll.wait(&mut events, EpollTimeout::from(LOOK)).expect("epoll waits");
        self.now = Instant::now();
        for event in &events[..ready] {
            self.handle(*event);
        }
        if self.now >= self.looked + Duration::from_millis(LOOK.into()) {
            self.looked = self.now;
            self.give_up();
        }
    }

    /// Ends connections without an answer.
    fn give_up(&mut self) {
        for index in 0..self.connections.len() {
            let connection = self.connections[index].as_ref();
            if connection.is_some_and(|connection| self.now >= connection.since + PATIENCE) {
                self.fail(index);
            }
        }
    }

    fn handle(&mut self, event: EpollEvent) {
        let index = usize::try_from(event.data()).expect("an index");
        let happened = event.events();
        let Some(connection) = &self.connections[index] else { return };
        if happened.contains(EpollFlags::EPOLLERR) {
            return self.fail(index);
        }
        if happened.contains(EpollFlags::EPOLLOUT) && !connection.begun {
            self.ask(index);
        }
        if happened.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP) {
            self.read(index);
        }
    }

    /// Sends a request; before the first one of a connection comes the header.
    fn ask(&mut self, index: usize) {
        let connection = self.connections[index].as_mut().expect("a connection that has not ended");
        let request = if self.load.each == Use::Once { LAST_REQUEST } else { REQUEST };
        let mut bytes = [0; 128];
        let mut length = 0;
        if !connection.begun {
            let (header, client) = self.greeting.next();
            length = header.len();
            bytes[..length].copy_from_slice(header);
            connection.expected = format!("\r\n\r\n{client}\n").into_bytes();
            connection.begun = true;
        }
        bytes[length..length + request.len()].copy_from_slice(request);
        length += request.len();
        connection.since = self.now;
        // Whatever fails comes as an event.
        let _ = send(connection.socket.as_raw_fd(), &bytes[..length], MsgFlags::MSG_NOSIGNAL);
    }

    /// Reads what has come: an answer is one segment.
    fn read(&mut self, index: usize) {
        let connection = self.connections[index].as_ref().expect("a connection that has not ended");
        match recv(connection.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
            Err(Errno::EAGAIN) => {}
            Ok(length) if connection.expects(&self.buffer[..length]) => self.answered(index),
            Ok(_) | Err(_) => self.fail(index),
        }
    }

    fn answered(&mut self, index: usize) {
        self.answers += 1;
        if self.load.each == Use::Always && !self.ending {
            self.ask(index);
        } else {
            self.replace(index);
        }
    }

    fn fail(&mut self, index: usize) {
        self.errors += 1;
        self.replace(index);
    }

    /// Closes the connection, and opens the next one.
    fn replace(&mut self, index: usize) {
        self.connections[index] = (!self.ending).then(|| self.open(index));
    }
}

impl Connection {
    fn expects(&self, answer: &[u8]) -> bool {
        self.begun && answer.starts_with(GOOD) && answer.ends_with(&self.expected)
    }
}
