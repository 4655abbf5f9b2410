//! Makes the pictures of the documentation: the agent's page, light and dark, and `proxyip top`.
//! `PROXYIP_BIN` names the program; root is needed.

use std::collections::VecDeque;
use std::f64::consts::TAU;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxyip_tests::header::{self, tlv};
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Agent, Browser, Dial, Guard, Scheme, Site, Size, Terminal, address, agent_binary,
    remove_everything, until,
};

/// Listeners and the connections each gets in a second on average.
const PORTS: [(u16, u32); 4] = [(443, 24), (3000, 9), (5432, 3), (2222, 2)];
/// Connections that are open at a time.
const LIVE: usize = 700;
/// How many samples a curve has before it is worth a picture; one takes two seconds.
const SAMPLES: usize = 55;
/// Of the pictures, in pixels; they are as high as what they show.
const WIDTH: u32 = 1280;
/// Searched for on the page: a network of few clients, so that the picture is not too high.
const NETWORK: &str = "203.0.113.60/30";

fn main() -> ExitCode {
    // A panic has printed its message, and dropping the fixtures has removed what they made.
    let outcome = std::panic::catch_unwind(make);
    remove_everything();
    if outcome.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn make() {
    let site = Site::without_captures();
    let _servers = PORTS.map(|(port, _)| EchoServer::start(&site.net.server, "::", port));
    let _agent = Agent::start(&site, &guard());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| site.net.balancer.enter(|| send_traffic(&stop)));
        let _stop = Stop(&stop);
        let terminal = top(&site);
        let browser = Browser::start(&site, &site.net.server);
        browser.resize(WIDTH, 900);
        browser.open("http://127.0.0.1:9811/");
        let limit = Duration::from_secs(4 * SAMPLES as u64);
        let drawn = "return document.querySelector('#listeners path.curve')?.getAttribute('d').split('L').length";
        until(limit, || browser.run(drawn).as_u64().filter(|points| *points >= SAMPLES as u64))
            .expect("curves on the page");
        for (scheme, name) in [(Scheme::Light, "page-light.png"), (Scheme::Dark, "page-dark.png")] {
            browser.prefer(scheme);
            save(name, &searched(&browser));
        }
        terminal.wait("gitea");
        let path = site.scratch.write("top.html", &terminal.html("proxyip top"));
        browser.open(&format!("file://{path}"));
        save("top.png", &whole(&browser));
    });
}

fn guard() -> Guard {
    let listener = |port: u16, name: &str| Guard::ports(&[port]).named(name);
    listener(443, "web")
        .setting("untrusted = \"reset\"")
        .deny("198.51.100.0/26")
        .with(
            &listener(3000, "gitea")
                .setting("untrusted = \"reset\"")
                .deny("192.0.2.0/24")
                .denied("mark"),
        )
        .with(&listener(5432, "postgres").setting("hand_off = \"translate\""))
        .with(&listener(2222, "ssh").deny("192.0.2.0/24").denied("drop"))
        .api_setting("http = \"127.0.0.1:9811\"")
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Opens connections until it is told to stop: most of them good ones, and more at some times than at others.
fn send_traffic(stop: &AtomicBool) {
    let start = Instant::now();
    let mut live = VecDeque::new();
    for number in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        live.extend(connect(number));
        if live.len() > LIVE {
            live.pop_front();
        }
        let all: u32 = PORTS.iter().map(|(_, weight)| weight).sum();
        let tide = 1.0 + 0.6 * (start.elapsed().as_secs_f64() / 50.0 * TAU).sin();
        thread::sleep(Duration::from_secs_f64(1.0 / (f64::from(all) * tide)));
    }
}

/// A connection of one of many clients; none if it is refused.
fn connect(number: u32) -> Option<TcpStream> {
    let dice = scramble(number);
    let port = port(dice >> 8);
    let client = client(dice);
    let destination =
        SocketAddr::new(if client.is_ipv4() { v4(192, 0, 2, 1) } else { v6(0x443) }, port);
    let (source, bytes) = match number % 40 {
        7 => (address::BALANCER, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        19 => (address::STRANGER, b"SSH-2.0-scanner\r\n".to_vec()),
        33 if number.is_multiple_of(3) => {
            (address::BALANCER, b"PROXY TCP4 203.0.113.9\r\n".to_vec())
        }
        _ if port == 5432 => (address::BALANCER, header::v1(client, destination)),
        _ => (
            address::BALANCER,
            header::v2_with(client, destination, &tlv(0x02, b"git.example.org")),
        ),
    };
    let mut stream = Dial::to(address::SERVER, port).from(source, 0).attempt_here().ok()?;
    stream.write_all(&bytes).ok()?;
    Some(stream)
}

fn port(dice: u32) -> u16 {
    let all: u32 = PORTS.iter().map(|(_, weight)| weight).sum();
    let mut rest = dice % all;
    for (port, weight) in PORTS {
        if rest < weight {
            return port;
        }
        rest -= weight;
    }
    unreachable!("the rest is below the sum of weights")
}

/// Some clients come more often than others, and some are denied.
fn client(dice: u32) -> SocketAddr {
    let [kind, rank, other, _] = dice.to_be_bytes();
    let often = u8::try_from(u16::from(rank) * u16::from(other) / 1024).expect("below 64");
    let address = match kind % 16 {
        0 => v4(198, 51, 100, rank),
        1 => v4(192, 0, 2, 2 + rank % 200),
        2..6 => v6(u16::from(often) + 1),
        _ => v4(203, 0, 113, often + 9),
    };
    SocketAddr::new(address, 32_768 + u16::from_be_bytes([rank, other]) % 28_000)
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, last))
}

/// The same for each run: Knuth's multiplicative hash.
const fn scramble(number: u32) -> u32 {
    let hash = number.wrapping_mul(2_654_435_761);
    hash ^ (hash >> 15)
}

/// A picture of the page while it searches for a network and shows all that is known of a flow.
fn searched(browser: &Browser) -> Vec<u8> {
    browser.run(&format!(
        "const form = document.getElementById('search');
         form.client.value = '{NETWORK}';
         form.requestSubmit();"
    ));
    // Without the network there are more of them.
    let found = "return document.querySelectorAll('#flows tbody').length";
    let opened = "return document.querySelector('#flows button[aria-expanded=true]') !== null";
    let open = "document.querySelector('#flows button[aria-expanded=false]')?.click()";
    let picture = until(Duration::from_secs(20), || {
        browser.run(found).as_u64().filter(|flows| (3..20).contains(flows))?;
        if browser.run(opened) == false {
            browser.run(open);
        }
        // A flow may end meanwhile.
        let picture = whole(browser);
        (browser.run(opened) == true).then_some(picture)
    });
    picture.expect("flows of the network")
}

/// A picture of the whole document, with its margins.
fn whole(browser: &Browser) -> Vec<u8> {
    let height = "return Math.ceil(document.documentElement.getBoundingClientRect().height)";
    let height = browser.run(height).as_u64().expect("a height");
    browser.resize(WIDTH, u32::try_from(height).expect("some thousands"));
    browser.screenshot()
}

/// A terminal with `proxyip top` in it.
fn top(site: &Site) -> Terminal {
    let terminal = Terminal::open(Size { columns: 108, lines: 36 });
    let (binary, socket) = (agent_binary(), site.scratch.path("api.sock"));
    terminal.enter(&format!("{} top --socket {}", binary.display(), socket.display()));
    terminal
}

fn save(name: &str, png: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    fs::write(&path, png).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    println!("{}, {} bytes", path.display(), png.len());
}
