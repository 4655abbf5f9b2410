//! Connections that show what is in force.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxyip_tests::networks::CLIENTS;
use proxyip_tests::random::Random;
use proxyip_tests::{Site, address, header};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::application::QUESTION;
use super::marks;
use super::policy::{Header, Outcome, Policy, Seen};

/// The ports of the application. Some are guarded.
pub(super) const PORTS: [u16; 5] = [80, 81, 82, 83, 84];

/// Who is not answered for so long is not answered.
const SILENCE: Duration = Duration::from_millis(40);
/// An answer comes before this, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at the sockets.
const REST: Duration = Duration::from_micros(300);
/// The port of each client.
const CLIENT_PORT: u16 = 51_234;

/// A connection that is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) port: u16,
    pub(super) source: SocketAddr,
    pub(super) header: Header,
}

/// Some connections, to all ports.
pub(super) fn some(random: &mut Random, number: usize) -> Vec<Probe> {
    let probe = |at: usize| {
        let sources =
            [address::BALANCER, address::STRANGER, address::BALANCER6, address::STRANGER6];
        let source: IpAddr = random.one_of(&sources).parse().expect("an address");
        let client = random.one_of(&CLIENTS).parse().expect("an address");
        let header = match random.below(12) {
            0 => Header::None,
            1 => Header::Unknown,
            2 => Header::Local,
            3..6 => Header::Client("v1", client),
            _ => Header::Client("v2", client),
        };
        Probe { port: PORTS[at % PORTS.len()], source: (source, 0).into(), header }
    };
    (0..number).map(probe).collect()
}

impl Probe {
    pub(super) fn expected(&self, policy: &Policy) -> Seen {
        policy.seen(self.port, self.source, self.header)
    }

    fn bytes(&self) -> Vec<u8> {
        match self.header {
            Header::None => Vec::new(),
            Header::Unknown => b"PROXY UNKNOWN\r\n".to_vec(),
            Header::Local => header::v2_raw(header::LOCAL, 0, &[]),
            Header::Client(version, client) => {
                let destination: IpAddr = match client {
                    IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
                    IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1).into(),
                };
                let [client, destination] =
                    [client, destination].map(|ip| SocketAddr::new(ip, CLIENT_PORT));
                match version {
                    "v1" => header::v1(client, destination),
                    _ => header::v2(client, destination),
                }
            }
        }
    }

    /// What an answer of the application means.
    fn read(&self, answer: &str, own: SocketAddr) -> Result<Outcome, String> {
        let unclear = || format!("{self:?} from {own}: the application said {answer:?}");
        let (peer, before) = answer.trim_end().split_once(' ').ok_or_else(unclear)?;
        let peer: SocketAddr = peer.parse().map_err(|_| unclear())?;
        let (length, before) = (self.bytes().len(), before.parse::<usize>());
        match (before, peer == own) {
            (Ok(before), true) if before == length => Ok(Outcome::Untouched),
            (Ok(0), true) => Ok(Outcome::OfSource),
            (Ok(0), false) if peer.port() == CLIENT_PORT => Ok(Outcome::Of(peer.ip())),
            _ => Err(unclear()),
        }
    }
}

/// A connection that is being made.
struct Attempt<'a> {
    probe: &'a Probe,
    stream: TcpStream,
    own: SocketAddr,
    asked: bool,
    answer: Vec<u8>,
}

/// Makes these connections at the same time, and says of each what was seen, or a sentence. Who expects an outcome other
/// than silence waits longer for it.
pub(super) fn seen(
    site: &Site,
    probes: &[Probe],
    expects_silence: impl Fn(&Probe) -> bool + Sync,
) -> Vec<Result<Seen, String>> {
    marks::forget(&site.net.server);
    let outcomes = outcomes(site, probes, expects_silence);
    let marks = marks::remembered(&site.net.server);
    let seen = |(port, outcome): (u16, Result<Outcome, String>)| {
        outcome.map(|outcome| Seen { outcome, mark: marks.get(&port).copied().unwrap_or(0) })
    };
    outcomes.into_iter().map(seen).collect()
}

/// The source's port of each connection, and how it has ended.
fn outcomes(
    site: &Site,
    probes: &[Probe],
    expects_silence: impl Fn(&Probe) -> bool + Sync,
) -> Vec<(u16, Result<Outcome, String>)> {
    site.net.balancer.enter(|| {
        let mut attempts: Vec<_> = probes.iter().map(Attempt::begin).collect();
        let mut found: Vec<_> = probes.iter().map(|_| None).collect();
        let mut last = Instant::now();
        loop {
            let mut moved = false;
            for (attempt, found) in attempts.iter_mut().zip(&mut found) {
                if found.is_none() {
                    let asked = attempt.asked;
                    *found = attempt.go_on();
                    moved |= found.is_some() || attempt.asked != asked;
                }
            }
            if moved {
                last = Instant::now();
                continue;
            }
            let mut waiting = probes.iter().zip(&found).filter(|(_, found)| found.is_none());
            let patience =
                if waiting.all(|(probe, _)| expects_silence(probe)) { SILENCE } else { PATIENCE };
            if found.iter().all(Option::is_some) || last.elapsed() > patience {
                break;
            }
            thread::sleep(REST);
        }
        let found = found.into_iter().map(|found| found.unwrap_or(Ok(Outcome::Silence)));
        attempts.iter().map(|attempt| attempt.own.port()).zip(found).collect()
    })
}

/// A port that was not used in the last moment, but some seconds ago: what an earlier connection of a 4-tuple has left behind
/// must not count for the next one.
fn next_port() -> u16 {
    const FIRST: u16 = 20_000;
    const NUMBER: u16 = 1500;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % NUMBER
}

impl<'a> Attempt<'a> {
    fn begin(probe: &'a Probe) -> Self {
        let server = if probe.source.is_ipv4() { address::SERVER } else { address::SERVER6 };
        let target = SocketAddr::new(server.parse().expect("an address"), probe.port);
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP));
        let socket = socket.expect("a socket");
        let source = SocketAddr::new(probe.source.ip(), next_port());
        socket.bind(&source.into()).expect("one of the own addresses");
        socket.set_nonblocking(true).expect("O_NONBLOCK");
        // It ends with a RST, and leaves nothing in TIME_WAIT.
        socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
        if let Err(error) = socket.connect(&target.into()) {
            let begun = [Some(libc::EINPROGRESS), Some(libc::ECONNREFUSED)];
            assert!(begun.contains(&error.raw_os_error()), "{probe:?}: {error}");
        }
        let stream = TcpStream::from(socket);
        let own = stream.local_addr().expect("a bound socket");
        Self { probe, stream, own, asked: false, answer: Vec::new() }
    }

    /// The outcome, once it is known.
    fn go_on(&mut self) -> Option<Result<Outcome, String>> {
        if let Ok(Some(error)) = SockRef::from(&self.stream).take_error() {
            return Some(self.failed(error.kind()));
        }
        if !self.asked {
            let question = [&*self.probe.bytes(), QUESTION].concat();
            match self.stream.write(&question) {
                Ok(length) => assert_eq!(length, question.len(), "a socket with an empty buffer"),
                // It is not established.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => return Some(self.failed(error.kind())),
            }
            self.asked = true;
        }
        let mut buffer = [0; 128];
        match self.stream.read(&mut buffer) {
            Ok(0) => Some(Err(format!("{:?} was ended in order", self.probe))),
            Ok(length) => {
                self.answer.extend_from_slice(&buffer[..length]);
                let answer = String::from_utf8_lossy(&self.answer);
                answer.ends_with('\n').then(|| self.probe.read(&answer, self.own))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => Some(self.failed(error.kind())),
        }
    }

    fn failed(&self, kind: ErrorKind) -> Result<Outcome, String> {
        match kind {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused | ErrorKind::BrokenPipe => {
                Ok(Outcome::Reset)
            }
            other => Err(format!("{:?}: {other}", self.probe)),
        }
    }
}
