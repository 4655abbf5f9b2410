//! Bytes of one connection, up and down, with a link that has offloads and with one that has none.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use proxyip_tests::{Agent, Dial, Guard, HandOff, Offloads, Process, Site, address};

use crate::clients::{Clients, Header};
use crate::rivals::{ACCEPT, DIRECT, HAPROXY, MMPROXY, NOT_GUARDED, OWN, TRANSLATE};
use crate::rounds::{Effort, Round};
use crate::{rivals, scene};

/// Bytes that are sent or read at once.
const PIECE: usize = 1 << 20;

/// The length of a header.
const HEADER: usize = 28;

/// Behind the proxies that run on the server's host.
const BEHIND: u16 = 7013;

/// Which way bytes go, by what the client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Way {
    const ALL: [Self; 2] = [Self::Up, Self::Down];

    const fn request(self) -> u8 {
        match self {
            Self::Up => b'u',
            Self::Down => b'd',
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

const OFFLOADS: [(&str, Offloads); 2] = [
    ("offloads on", Offloads { checksums: true, segmentation: true, merging: true }),
    ("offloads off", Offloads::NONE),
];

/// What a connection meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meets {
    /// A server, without a header.
    Nobody,
    /// A server or proxy that reads the header.
    Reader,
    /// The agent, with a header.
    Agent,
    /// The agent, without a header.
    AgentOfOthers,
}

impl Meets {
    const fn agent(self) -> bool {
        matches!(self, Self::Agent | Self::AgentOfOthers)
    }

    const fn header(self) -> bool {
        matches!(self, Self::Agent | Self::Reader)
    }
}

const CONTENDERS: [(&str, u16, Meets); 7] = [
    ("direct", DIRECT, Meets::Nobody),
    ("a server that reads the header", OWN, Meets::Reader),
    ("HAProxy, usesrc clientip", HAPROXY, Meets::Reader),
    ("mmproxy-rs", MMPROXY, Meets::Reader),
    ("proxyip, accept", ACCEPT, Meets::Agent),
    ("proxyip, translate", TRANSLATE, Meets::Agent),
    ("proxyip, a port that is not guarded", NOT_GUARDED, Meets::AgentOfOthers),
];

/// Measures all in each round, and prints it.
pub(crate) fn measure(effort: Effort) {
    let site = scene::site();
    for port in [DIRECT, ACCEPT, TRANSLATE, NOT_GUARDED, BEHIND] {
        serve(&site, port, 0);
    }
    serve(&site, OWN, HEADER);
    rivals::route_answers_to_proxies(&site);
    let _proxies: [Process; 2] =
        [rivals::haproxy(&site, Some(BEHIND)), rivals::mmproxy(&site, Some(BEHIND))];
    let clients = Header::new(Clients::FEW, scene::target(ACCEPT));
    let mut link = Link { site: &site, clients };
    for (name, offloads) in OFFLOADS {
        site.net.set_offloads(offloads);
        for round in effort.rounds() {
            for way in Way::ALL {
                link.measure(round, &format!("{}, {name}", way.name()), way);
            }
        }
    }
}

/// The link, and who comes next.
struct Link<'a> {
    site: &'a Site,
    clients: Header,
}

fn guard() -> Guard {
    let translated = scene::guard(TRANSLATE).named("translated").hand_off(HandOff::Translate);
    scene::guard(ACCEPT).hand_off(HandOff::Accept).with(&translated)
}

/// Serves for as long as this program runs. What comes before the client's request is skipped.
fn serve(site: &Site, port: u16, skipped: usize) {
    let listen = || TcpListener::bind(("0.0.0.0", port)).expect("a port of the server");
    let listener = site.net.server.enter(listen);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            thread::spawn(move || answer(stream, skipped));
        }
    });
}

/// Until the client has enough.
fn answer(mut stream: TcpStream, skipped: usize) {
    let mut piece = vec![0; PIECE];
    // A connection of those who only look whether the port is open ends before this.
    if stream.read_exact(&mut piece[..=skipped]).is_err() {
        return;
    }
    if piece[skipped] == Way::Up.request() {
        while stream.read(&mut piece).is_ok_and(|length| length > 0) {}
        let _ = stream.write_all(b"k");
    } else {
        while stream.write_all(&piece).is_ok() {}
    }
}

impl Link<'_> {
    fn measure(&mut self, round: Round, group: &str, way: Way) {
        for (name, port, meets) in round.order(&CONTENDERS) {
            let _agent = meets.agent().then(|| Agent::start(self.site, &guard()));
            let mut first =
                if meets.header() { self.clients.next().0.to_vec() } else { Vec::new() };
            first.push(way.request());
            let speed = self.transfer(way, (*port, &first), round.duration());
            round.report((group, name), speed, 0);
        }
    }

    /// Gigabits per second of one connection to a port, which begins with these bytes.
    ///
    /// # Panics
    /// When it fails, or the server has not read all that was sent.
    fn transfer(&self, way: Way, (port, first): (u16, &[u8]), duration: Duration) -> f64 {
        let dial = Dial::to(address::SERVER, port).from(address::BALANCER, 0);
        let mut stream = dial.open(&self.site.net.balancer);
        stream.write_all(first).expect("a connection");
        let mut piece = vec![0; PIECE];
        let (mut bytes, start) = (0, Instant::now());
        while start.elapsed() < duration {
            let length = match way {
                Way::Up => stream.write(&piece).expect("a connection that takes bytes"),
                Way::Down => stream.read(&mut piece).expect("a connection that brings bytes"),
            };
            assert!(length > 0, "the server has closed the connection to port {port}");
            bytes += length;
        }
        if way == Way::Up {
            stream.shutdown(Shutdown::Write).expect("a connection");
            stream.read_exact(&mut piece[..1]).expect("the server's answer");
        }
        #[expect(clippy::cast_precision_loss, reason = "some gigabytes")]
        let bits = bytes as f64 * 8.0;
        bits / start.elapsed().as_secs_f64() / 1e9
    }
}
