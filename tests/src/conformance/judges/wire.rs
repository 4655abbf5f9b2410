//! Sending vectors over TCP, several at a time, and hearing what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::conformance::vector::{Expected, REQUEST, Vector};
use crate::dial::Dial;
use crate::header;
use crate::net::address;
use crate::site::Site;

/// Connections that are open at a time.
const WORKERS: usize = 16;
/// The source ports of the vectors, in their order; none that the kernel would choose for another connection.
const FIRST_PORT: u16 = 20_000;
/// After this silence it is asked whether the server is only slow.
const SILENCE: Duration = Duration::from_millis(300);
/// How long the silence must last if it is not expected.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long an answer may take if there must be one.
const DEADLINE: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// An answer.
    Answer(Vec<u8>),
    /// The end of the stream before an answer.
    End,
    /// A RST before an answer.
    Reset,
    /// Nothing, while others got their answers.
    Nothing,
}

/// What was heard of one vector.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// The real peer, as the server sees it.
    pub(super) peer: SocketAddr,
    pub(super) heard: Heard,
}

/// A server on a port, and how its answers end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) port: u16,
    pub(super) is_whole: fn(&[u8]) -> bool,
}

impl Line {
    /// Sends each vector on a separate connection, from the load balancer.
    pub(super) fn ask_all(self, site: &Site, vectors: &[Vector]) -> Vec<Reply> {
        let next = Mutex::new(0..vectors.len());
        let replies = Mutex::new(vec![None; vectors.len()]);
        let work = || {
            loop {
                let index = next.lock().expect("no worker panics with it").next();
                let Some(index) = index else { return };
                let port =
                    FIRST_PORT + u16::try_from(index).expect("there are not so many vectors");
                let reply = self.ask(port, &vectors[index]);
                replies.lock().expect("no worker panics with it")[index] = Some(reply);
            }
        };
        site.net.balancer.enter(|| {
            thread::scope(|scope| {
                let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
                for worker in workers {
                    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                }
            });
        });
        let replies = replies.into_inner().expect("no worker panicked");
        replies.into_iter().map(|reply| reply.expect("all were asked")).collect()
    }

    fn ask(self, port: u16, vector: &Vector) -> Reply {
        let stream = self.open(port);
        let peer = stream.local_addr().expect("a bound socket");
        stream.set_write_timeout(Some(SILENCE)).expect("SO_SNDTIMEO");
        // A server may refuse before it has taken everything.
        let _ = { &stream }.write_all(&vector.bytes());
        // Where something must happen, it may take longer.
        let is_beginning = vector.expected == Expected::Incomplete;
        let patience = if is_beginning { SILENCE } else { PATIENCE };
        let mut answer = Vec::new();
        let mut heard = self.hear(&stream, SILENCE, &mut answer);
        if heard == Heard::Nothing {
            self.assert_answers();
            heard = self.hear(&stream, patience, &mut answer);
        }
        Reply { peer, heard }
    }

    fn open(self, port: u16) -> TcpStream {
        let dial = Dial::to(address::SERVER, self.port).from(address::BALANCER, port);
        dial.attempt_here().unwrap_or_else(|error| panic!("{dial:?}: {error}"))
    }

    fn hear(self, mut stream: &TcpStream, patience: Duration, answer: &mut Vec<u8>) -> Heard {
        stream.set_read_timeout(Some(patience)).expect("SO_RCVTIMEO");
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Heard::End,
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::Nothing,
                Err(_) => return Heard::Reset,
            }
            if (self.is_whole)(answer) {
                return Heard::Answer(std::mem::take(answer));
            }
        }
    }

    /// Who answers a later connection has seen what came before it.
    fn assert_answers(self) {
        let client = "198.51.100.8:1000".parse().expect("an address and port");
        let destination = "192.0.2.1:443".parse().expect("an address and port");
        let request = [header::v2(client, destination), REQUEST.to_vec()].concat();
        let stream = self.open(0);
        { &stream }.write_all(&request).expect("cannot send");
        let heard = self.hear(&stream, DEADLINE, &mut Vec::new());
        assert!(matches!(heard, Heard::Answer(_)), "a good header: {heard:?} from {self:?}");
    }
}
