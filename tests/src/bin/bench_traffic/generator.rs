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

use crate::clients::{Clients, Header};

/// Connections that are open at any moment.
pub(crate) const CONNECTIONS: usize = 64;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const LAST_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
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
    /// Who the headers name; without it there are no headers.
    pub(crate) clients: Option<Clients>,
    pub(crate) duration: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Answers, each on its own connection under [`Use::Once`].
    pub(crate) answers: u64,
    /// Connections that failed.
    pub(crate) errors: u64,
    pub(crate) elapsed: Duration,
}

impl Outcome {
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
        let begin = Instant::now();
        for index in 0..CONNECTIONS {
            let connection = generator.open(index);
            generator.connections.push(connection);
        }
        let mut events = [EpollEvent::empty(); CONNECTIONS];
        while begin.elapsed() < self.duration {
            let ready = generator.epoll.wait(&mut events, EpollTimeout::from(100_u8));
            for event in &events[..ready.expect("epoll waits")] {
                generator.handle(*event);
            }
        }
        let (answers, errors) = (generator.answers, generator.errors);
        Outcome { answers, errors, elapsed: begin.elapsed() }
    }
}

struct Connection {
    socket: OwnedFd,
    /// Whether the first request was sent, with the header before it.
    begun: bool,
}

struct Generator {
    load: Load,
    target: SockaddrIn,
    epoll: Epoll,
    connections: Vec<Connection>,
    header: Option<Header>,
    buffer: Vec<u8>,
    answers: u64,
    errors: u64,
}

impl Generator {
    fn new(load: Load) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::empty()).expect("epoll");
        let header = load.clients.map(|clients| Header::new(clients, load.target));
        let (target, buffer) = (SockaddrIn::from(load.target), vec![0; 65_536]);
        let connections = Vec::with_capacity(CONNECTIONS);
        Self { load, target, epoll, connections, header, buffer, answers: 0, errors: 0 }
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
        Connection { socket, begun: false }
    }

    fn handle(&mut self, event: EpollEvent) {
        let index = usize::try_from(event.data()).expect("an index");
        let happened = event.events();
        if happened.contains(EpollFlags::EPOLLERR) {
            return self.fail(index);
        }
        if happened.contains(EpollFlags::EPOLLOUT) && !self.connections[index].begun {
            self.ask(index);
        }
        if happened.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP) {
            self.read(index);
        }
    }

    /// Sends a request; before the first one of a connection comes the header.
    fn ask(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let request = if self.load.each == Use::Once { LAST_REQUEST } else { REQUEST };
        let mut bytes = [0; 128];
        let mut length = 0;
        if !connection.begun {
            if let Some(header) = &mut self.header {
                let header = header.next();
                length = header.len();
                bytes[..length].copy_from_slice(header);
            }
            connection.begun = true;
        }
        bytes[length..length + request.len()].copy_from_slice(request);
        length += request.len();
        // Whatever fails comes as an event.
        let _ = send(connection.socket.as_raw_fd(), &bytes[..length], MsgFlags::MSG_NOSIGNAL);
    }

    /// Reads all that has come: an answer is one segment.
    fn read(&mut self, index: usize) {
        let socket = self.connections[index].socket.as_raw_fd();
        let (mut good, mut open) = (false, true);
        loop {
            match recv(socket, &mut self.buffer, MsgFlags::empty()) {
                Ok(0) => open = false,
                Ok(length) => {
                    good = self.buffer[..length].starts_with(GOOD);
                    if length == self.buffer.len() {
                        continue;
                    }
                }
                Err(Errno::EAGAIN) => {}
                Err(_) => open = false,
            }
            break;
        }
        match (good, self.load.each) {
            (true, Use::Once) => {
                self.answers += 1;
                self.replace(index);
            }
            (true, Use::Always) if open => {
                self.answers += 1;
                self.ask(index);
            }
            _ if !open => self.fail(index),
            _ => {}
        }
    }

    fn fail(&mut self, index: usize) {
        self.errors += 1;
        self.replace(index);
    }

    /// Closes the connection and opens the next one.
    fn replace(&mut self, index: usize) {
        self.connections[index] = self.open(index);
    }
}
