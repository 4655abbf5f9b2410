//! Connections of the load balancer to namespaces, each with a client of its own in its header.

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxyip_tests::random::Random;
use proxyip_tests::servers::PeerNames;
use proxyip_tests::{header, visitors};
use socket2::{Domain, Socket, Type};

use crate::world::{Place, State, World};

/// Between two connections of a worker.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two connections to a namespace that is not guarded yet.
const PROBE: Duration = Duration::from_millis(25);
/// A namespace that takes longer is a fault of its own, which the watcher finds.
const GIVES_UP: Duration = Duration::from_secs(20);
/// A connection without an answer hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// How connections have ended.
#[derive(Debug, Default)]
pub(crate) struct Visits {
    next: AtomicU64,
    /// The application got the client.
    pub(crate) shown: AtomicU64,
    /// The application got the header, before the namespace was known to be guarded.
    pub(crate) early: AtomicU64,
    /// The namespace was attached to during the handshake, which is reset.
    pub(crate) crossed: AtomicU64,
    /// The namespace went meanwhile.
    pub(crate) passing: AtomicU64,
}

/// What the application has got.
enum Outcome {
    Shown,
    Header,
    Wrong(String),
    Lost(io::Error),
}

/// A connection that has not asked yet.
struct Open {
    stream: TcpStream,
    number: u64,
    begun: Instant,
    /// The place when the connection was begun.
    place: Place,
}

/// A connection that could not be opened.
struct Failed {
    error: io::Error,
    begun: Instant,
    /// The place when it was begun.
    place: Place,
}

impl Visits {
    /// Visits namespaces at random until `stop`. The calling thread is in the load balancer's namespace.
    pub(crate) fn work(&self, world: &World, stop: &AtomicBool, mut random: Random) {
        while !stop.load(Ordering::Relaxed) {
            let living: Vec<_> = world.places().into_iter().filter(|(_, at)| lives(*at)).collect();
            if !living.is_empty() {
                self.visit(world, random.one_of(&living).0);
            }
            thread::sleep(PAUSE);
        }
    }

    /// Visits a namespace that has come until it is guarded, and a few times after. One connection begins before, and
    /// sends its header only then.
    pub(crate) fn welcome(&self, world: &World, number: u8, stop: &AtomicBool) {
        let early = self.open(world, number);
        let begun = Instant::now();
        let is_awaited = || {
            let place = world.place(number);
            lives(place) && place.guarded.is_none() && begun.elapsed() < GIVES_UP
        };
        while is_awaited() && !stop.load(Ordering::Relaxed) {
            self.visit(world, number);
            thread::sleep(PROBE);
        }
        for _ in 0..3 {
            self.visit(world, number);
        }
        self.finish(world, number, early);
    }

    fn visit(&self, world: &World, number: u8) {
        let open = self.open(world, number);
        self.finish(world, number, open);
    }

    fn open(&self, world: &World, number: u8) -> Result<Open, Failed> {
        let (place, begun) = (world.place(number), Instant::now());
        let client = 2 * self.next.fetch_add(1, Ordering::Relaxed);
        let stream = connect(number).map_err(|error| Failed { error, begun, place })?;
        Ok(Open { stream, number: client, begun, place })
    }

    /// Asks, and judges the answer.
    fn finish(&self, world: &World, number: u8, open: Result<Open, Failed>) {
        let (place, begun, outcome) = match open {
            Ok(open) => (open.place, open.begun, ask(&open, number)),
            Err(failed) => (failed.place, failed.begun, Outcome::Lost(failed.error)),
        };
        let now = world.place(number);
        if let Outcome::Wrong(what) = outcome {
            world.fault(format!("namespace {number}: {what}"));
        } else if !lives(place) || !lives(now) || now.generation != place.generation {
            self.passing.fetch_add(1, Ordering::Relaxed);
        } else {
            self.judge(world, (number, place), begun, outcome);
        }
    }

    /// Of a namespace that was there all the time.
    fn judge(&self, world: &World, at: (u8, Place), begun: Instant, outcome: Outcome) {
        let (number, place) = at;
        match outcome {
            Outcome::Shown => {
                self.shown.fetch_add(1, Ordering::Relaxed);
                world.is_guarded(number, place.generation);
            }
            Outcome::Header if place.guarded.is_none() => {
                self.early.fetch_add(1, Ordering::Relaxed);
            }
            // The programs have not seen its SYN.
            Outcome::Lost(error) if place.guarded.is_none() && was_reset(&error) => {
                self.crossed.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Header => world.fault(format!(
                "namespace {number}: the application got the header, though it was guarded"
            )),
            Outcome::Lost(error) => {
                let (ago, guarded) = (begun.elapsed(), place.guarded.is_some());
                world.fault(format!(
                    "namespace {number}: a connection of {ago:.2?} ago is lost ({error}), guarded: {guarded}"
                ));
            }
            Outcome::Wrong(_) => {}
        }
    }
}

fn was_reset(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}

const fn lives(place: Place) -> bool {
    matches!(place.state, State::Living(_))
}

fn server(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 88, number, 1], 80))
}

fn connect(number: u8) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    socket.connect_timeout(&server(number).into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// Sends a header of either version and a question, and reads whom the application has taken for its client.
fn ask(open: &Open, number: u8) -> Outcome {
    let client = SocketAddr::new(visitors::address_of(open.number), 40_000);
    let version = if open.number.is_multiple_of(4) { header::v1 } else { header::v2 };
    let question = format!("ask {}\n", open.number);
    let bytes = [&version(client, server(number)), question.as_bytes()].concat();
    let mut stream = &open.stream;
    match stream.write_all(&bytes).and_then(|()| PeerNames::read_or_error(stream)) {
        Ok((names, line)) => judge(names, &line, client, question.trim()),
        Err(error) => Outcome::Lost(error),
    }
}

/// From the names that the application has got, and the first line that it has read, in quotes.
fn judge(names: PeerNames, line: &str, client: SocketAddr, question: &str) -> Outcome {
    let PeerNames { accepted, named } = names;
    let is_header = line.starts_with("\"PROXY TCP4 ") || line == "\"\\r\"";
    let is_balancer = |name: &SocketAddr| matches!(name.ip(), IpAddr::V4(ip) if ip.octets()[..2] == [10, 88] && ip.octets()[3] == 2);
    if accepted == client && named == client && line == format!("{question:?}") {
        Outcome::Shown
    } else if is_header && [accepted, named].iter().all(is_balancer) {
        Outcome::Header
    } else {
        Outcome::Wrong(format!("{names} {line} for {client}, who sent {question:?}"))
    }
}
