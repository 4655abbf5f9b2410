//! Segments that begin a connection. They come by the interface: the kernel gives a socket to no other packet, and what
//! the program queues behind them is received at once. Each is measured by the kernel's statistics of the program, once.

use std::io::Read as _;
use std::time::Duration;

use aya::programs::ProgramInfo;
use aya::sys::{Stats, enable_stats};
use proxyip_common::counter::Counter;
use proxyip_tests::bench::{
    AUTO, Bench, FAMILIES, Family, PATIENCE, PLAIN, Program, SETTINGS, TRANSLATE, cookie_of, first,
};
use proxyip_tests::header;
use proxyip_tests::packet::Packet;

use crate::costs::Costs;
use crate::yardstick::Yardstick;

/// What an application takes for a request.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n";

/// How a connection begins.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) name: String,
    family: Family,
    port: u16,
    header: Vec<u8>,
    /// What follows it in the same segment.
    data: &'static [u8],
    /// How often the program runs: the segment may be queued behind another.
    runs: u64,
}

/// All of them that this kernel has.
pub(crate) fn all() -> Vec<Opening> {
    let openings = FAMILIES.into_iter().flat_map(|family| {
        let v1 = header::v1(family.client(), family.destination());
        let v2 = family.header();
        let opening = |what: &str, port, header: &Vec<u8>, data, runs| Opening {
            name: format!("{what}, {}", family.name()),
            family,
            port,
            header: header.clone(),
            data,
            runs,
        };
        [
            opening(
                "accept: first segment, header v1 and data, and its clone",
                AUTO,
                &v1,
                REQUEST,
                2,
            ),
            opening(
                "accept: first segment, header v2 and data, and its clone",
                AUTO,
                &v2,
                REQUEST,
                2,
            ),
            opening("accept: first segment, header v2 alone, and its clone", AUTO, &v2, b"", 2),
            opening("translate: first segment, header v1 and data", TRANSLATE, &v1, REQUEST, 1),
            opening("translate: first segment, header v2 and data", TRANSLATE, &v2, REQUEST, 1),
            opening(
                "translate: first segment, header v2 alone, and its clone",
                TRANSLATE,
                &v2,
                b"",
                2,
            ),
        ]
    });
    let possible = |opening: &Opening| opening.port != AUTO || Program::Ingress.is_possible();
    openings.filter(possible).collect()
}

/// Measures all of them.
///
/// # Panics
/// When a connection is not handed over.
pub(crate) fn measure(
    bench: &mut Bench,
    yardstick: &Yardstick,
    openings: &[Opening],
    rounds: usize,
) -> Vec<Costs> {
    let program = Program::best_ingress();
    bench.attach(program);
    let _statistics = enable_stats(Stats::RunTime).expect("statistics of programs");
    bench.tables.reset(SETTINGS, &[]);
    let mut costs = vec![Costs::default(); openings.len()];
    for _ in 0..rounds {
        for (opening, costs) in openings.iter().zip(&mut costs) {
            let floor = yardstick.cost_of_statistics() * opening.runs_as_number();
            costs.add(opening.begin(bench, program), floor);
        }
    }
    let connections = u64::try_from(2 * rounds * openings.len()).expect("a few");
    let counted = bench.tables.counts();
    let handed_over = (Counter::HandedOver.into(), connections);
    assert!(connections == 0 || counted.contains(&handed_over), "{connections}, but {counted:?}");
    costs
}

impl Opening {
    fn runs_as_number(&self) -> f64 {
        f64::from(u32::try_from(self.runs).expect("a few runs"))
    }

    /// Begins two connections; what the segment with the second one's header cost. Between the first one and what was
    /// done before it, the processor has forgotten the program.
    fn begin(&self, bench: &mut Bench, program: Program) -> f64 {
        bench.tables.clear();
        bench.tables.set_in_use(false);
        let [_, cost] = [(); 2].map(|()| self.begin_once(bench, program));
        cost
    }

    fn begin_once(&self, bench: &Bench, program: Program) -> f64 {
        let syn = self.family.syn(self.port);
        let first = first(&syn, self.number(bench, &syn), &[&self.header, self.data].concat());
        let info = || bench.program(program).info().expect("information on the program");
        let before = info();
        bench.tap.write(&first.frame());
        let after = info();
        let runs = after.run_count() - before.run_count();
        assert_eq!(runs, self.runs, "{}: runs of the program", self.name);
        self.assert_connected(bench, &syn);
        nanoseconds(&after) - nanoseconds(&before)
    }

    /// The number of the SYN-ACK.
    fn number(&self, bench: &Bench, syn: &Packet) -> u32 {
        if self.port == AUTO {
            return cookie_of(syn, PLAIN);
        }
        bench.drain();
        bench.tap.write(&syn.frame());
        bench.hear(syn).expect("an answer to the SYN").sequence
    }

    /// The application has got the connection, and all that is behind the header.
    fn assert_connected(&self, bench: &Bench, syn: &Packet) {
        // Of a connection that is translated, nobody says here that it is established.
        if self.port != AUTO && self.data.is_empty() {
            return;
        }
        let mut stream = bench.accept_within(PATIENCE, syn).expect("a connection");
        let mut data = vec![0; self.data.len()];
        stream.set_nonblocking(false).expect("a flag");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        stream.read_exact(&mut data).expect("what is behind the header");
        assert_eq!(data, self.data, "{}: what the application reads", self.name);
        let socket = socket2::SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact for weeks")]
pub(crate) fn nanoseconds(info: &ProgramInfo) -> f64 {
    info.run_time().as_nanos() as f64
}
