//! Measures how much the program for `getsockopt()` slows down other calls. An agent with `[api] getsockopt = true`
//! and an agent without take turns. Each time the same calls are made on the same connection. `PROXYIP_BIN` names the
//! program; root is needed.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, address, header};

const ROUNDS: usize = 15;
/// How often each call is made in each round.
const CALLS: u32 = 200_000;

/// A call, and how many bytes it asks for.
struct Call {
    name: &'static str,
    level: i32,
    option: i32,
    room: usize,
    /// Whether another thread works on the same socket meanwhile. For the program the kernel locks the socket, so that
    /// calls must wait that needed no lock before.
    contended: bool,
}

const ERROR: Call = Call {
    name: "SO_ERROR",
    level: libc::SOL_SOCKET,
    option: libc::SO_ERROR,
    room: 4,
    contended: false,
};
const INFO: Call = Call {
    name: "TCP_INFO",
    level: libc::IPPROTO_TCP,
    option: libc::TCP_INFO,
    room: 232,
    contended: false,
};
const CALLS_MEASURED: [Call; 6] = [
    ERROR,
    Call { name: "TCP_MAXSEG", level: libc::IPPROTO_TCP, option: libc::TCP_MAXSEG, ..ERROR },
    INFO,
    Call { name: "0x5050, 1", level: 0x5050, option: 1, room: 64, contended: false },
    Call { name: "SO_ERROR, contended", contended: true, ..ERROR },
    Call { name: "TCP_INFO, contended", contended: true, ..INFO },
];

impl Call {
    /// Makes it once. `value` has as many bytes as it asks for.
    fn make(&self, socket: &TcpStream, value: &mut [u8]) {
        let mut length = libc::socklen_t::try_from(value.len()).expect("it is small");
        // SAFETY: the buffer has as many bytes as `length` says. An error takes its time like an answer.
        unsafe {
            let value = value.as_mut_ptr().cast();
            libc::getsockopt(socket.as_raw_fd(), self.level, self.option, value, &raw mut length);
        }
    }

    /// Nanoseconds that it takes on average.
    fn measure(&self, socket: &TcpStream) -> f64 {
        if !self.contended {
            return self.time(socket);
        }
        let (other_works, done) = (Barrier::new(2), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                other_works.wait();
                self.contend(socket, &done);
            });
            other_works.wait();
            let time = self.time(socket);
            done.store(true, Ordering::Relaxed);
            time
        })
    }

    fn time(&self, socket: &TcpStream) -> f64 {
        let mut value = vec![0; self.room];
        let begin = Instant::now();
        for _ in 0..CALLS {
            self.make(socket, &mut value);
        }
        begin.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    }

    /// Looks for something to read and makes the call, again and again, as another thread of a server may.
    fn contend(&self, socket: &TcpStream, done: &AtomicBool) {
        let mut value = vec![0; self.room];
        while !done.load(Ordering::Relaxed) {
            let mut byte = 0_u8;
            // SAFETY: there is room for the byte that is asked for.
            unsafe {
                let byte = (&raw mut byte).cast();
                libc::recv(socket.as_raw_fd(), byte, 1, libc::MSG_DONTWAIT);
            }
            self.make(socket, &mut value);
        }
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Both ends of a connection, after its header has been read.
fn connect(site: &Site) -> (TcpStream, TcpStream) {
    let listener = site.net.server.enter(|| TcpListener::bind((address::SERVER, 80)));
    let listener = listener.expect("a listener");
    let dial = Dial::to(address::SERVER, 80).from(address::BALANCER, 0);
    let mut peer = dial.open(&site.net.balancer);
    let [client, destination] =
        ["198.51.100.7:51234", "192.0.2.1:443"].map(|text| text.parse().expect("an address"));
    peer.write_all(&header::v2(client, destination)).expect("cannot send");
    let (socket, named) = listener.accept().expect("a connection");
    assert_eq!(named, client);
    (peer, socket)
}

fn main() {
    let site = Site::without_captures();
    let off = Guard::ports(&[80]).hand_off(HandOff::Auto);
    let on = off.clone().api_setting("getsockopt = true");
    let mut agent = Agent::start(&site, &off);
    let (_peer, socket) = connect(&site);
    let mut times = CALLS_MEASURED.map(|_| [const { Vec::new() }; 2]);
    for round in 0..ROUNDS {
        // The two take turns in being the first of a round.
        for turn in [round % 2, 1 - round % 2] {
            agent.configure(if turn == 1 { &on } else { &off });
            agent.kill();
            agent.start_again();
            for (call, times) in CALLS_MEASURED.iter().zip(&mut times) {
                times[turn].push(call.measure(&socket));
            }
        }
    }
    println!("ns per getsockopt(), medians of {ROUNDS} rounds of {CALLS} calls");
    println!("contended: another thread reads the same socket and makes the same call\n");
    println!("{:<20}{:>10}{:>10}{:>10}{:>8}", "option", "without", "with", "more", "ratio");
    for (call, [without, with]) in CALLS_MEASURED.iter().zip(times) {
        let ratio =
            median(with.iter().zip(&without).map(|(with, without)| with / without).collect());
        let (without, with) = (median(without), median(with));
        let more = with - without;
        println!("{:<20}{without:>10.0}{with:>10.0}{more:>10.0}{ratio:>8.2}", call.name);
    }
}
