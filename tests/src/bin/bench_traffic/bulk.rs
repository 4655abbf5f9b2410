//! Bytes of one connection, up and down, with a link that has offloads and with one that has none.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use proxyip_tests::{Agent, Dial, Guard, HandOff, Offloads, Process, Site, address};

use crate::clients::{Clients, Header};
use crate::rivals::{ACCEPT, DIRECT, HAPROXY, MMPROXY, NOT_GUARDED, OWN, TRANSLATE};
use crate::{Effort, report, rivals, scene};

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

/// Without the agent: name, port, and whether there is a header.
const WITHOUT: [(&str, u16, bool); 4] = [
    ("direct", DIRECT, false),
    ("a server that reads the header", OWN, true),
    ("HAProxy, usesrc clientip", HAPROXY, true),
    ("mmproxy-rs", MMPROXY, true),
];
/// With it.
const WITH: [(&str, u16, bool); 3] = [
    ("proxyip, accept", ACCEPT, true),
    ("proxyip, translate", TRANSLATE, true),
    ("proxyip, a port that is not guarded", NOT_GUARDED, false),
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
    let mut link = Link { site: &site, clients, duration: effort.duration };
    for (name, offloads) in OFFLOADS {
        site.net.set_offloads(offloads);
        for way in Way::ALL.into_iter().cycle().take(2 * effort.rounds) {
            link.measure(&format!("{}, {name}", way.name()), way);
        }
    }
}

/// The link, and who comes next.
struct Link<'a> {
    site: &'a Site,
    clients: Header,
    duration: Duration,
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
    /// One round.
    fn measure(&mut self, group: &str, way: Way) {
        for contender in &WITHOUT {
            self.contend(group, way, contender);
        }
        let _agent = Agent::start(self.site, &guard());
        for contender in &WITH {
            self.contend(group, way, contender);
        }
    }

    fn contend(&mut self, group: &str, way: Way, contender: &(&str, u16, bool)) {
        let (name, port, has_header) = *contender;
        let header = if has_header { self.clients.next().to_vec() } else { Vec::new() };
        let speed = self.transfer(way, port, header);
        report::sample(group, name, speed, 0);
    }

    /// Gigabits per second of one connection, which begins with these bytes.
    ///
    /// # Panics
    /// When it fails, or the server has not read all that was sent.
    fn transfer(&self, way: Way, port: u16, mut first: Vec<u8>) -> f64 {
        let dial = Dial::to(address::SERVER, port).from(address::BALANCER, 0);
        let mut stream = dial.open(&self.site.net.balancer);
        first.push(way.request());
        stream.write_all(&first).expect("a connection");
        let mut piece = vec![0; PIECE];
        let (mut bytes, start) = (0, Instant::now());
        while start.elapsed() < self.duration {
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
