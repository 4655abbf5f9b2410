//! How fast a running agent answers, beside Redis, and whether a large flow table makes it slower.

mod load;
mod redis;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Instant;

use proxyip_common::address::{Client, Local, Peer};
use proxyip_common::flow::{FlowKey, FlowRecord};
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Agent, Api, Dial, FlowTable, Guard, Site, address, header, read_line, resident_kib,
};

use crate::load::{Load, Requests, Speed, median};
use crate::redis::Redis;

const FEW: u32 = 1_000;
const MANY: u32 = 1_000_000;
/// Each round measures everything once.
const ROUNDS: usize = 7;
/// Connections, questions pipelined on each, questions in all. Fifty connections are what `redis-benchmark` has by default;
/// with one, nobody waits for others.
const LOADS: [(usize, usize, usize); 4] =
    [(1, 1, 50_000), (1, 16, 200_000), (50, 1, 200_000), (50, 16, 800_000)];
/// Requests that are made beforehand and sent again and again, for random keys.
const REQUESTS: usize = 1 << 20;
/// Lookups, one after the other.
const SINGLES: usize = 5_000;

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("this makes network namespaces and loads kernel programs: run it as root");
        return ExitCode::FAILURE;
    }
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]).agent_setting(&format!("max_flows = {}", 1 << 21));
    let mut agent = Agent::start(&site, &guard);
    let client = SocketAddr::from(([198, 51, 100, 200], 40_000));
    let mut stream =
        Dial::to(address::SERVER, 80).from(address::BALANCER, 0).open(&site.net.balancer);
    stream.write_all(&header::v2(client, client)).expect("a connection");
    stream.write_all(b"who am I?\n").expect("a connection");
    read_line(&stream);

    let mut flows = Flows::of(&site);
    flows.fill(0..FEW);
    let few = Singles::measure(&agent, FEW);
    let memory = resident_kib(agent.process().pid());
    flows.fill(FEW..MANY);
    let many = Singles::measure(&agent, MANY);
    println!(
        "one lookup after the other, median µs{:>22}{:>12}{:>9}",
        "1,000 flows", "1,000,000", "ratio"
    );
    for (name, few, many) in [("line protocol", few.line, many.line), ("HTTP", few.http, many.http)]
    {
        println!("  {name:<35}{:>21.1}{:>12.1}{:>9.2}", few * 1e6, many * 1e6, many / few);
    }
    println!("\nrequests at 1,000,000 flows, median ms of 5");
    for path in ["/v1/status", "/metrics", "/v1/clients", "/v1/flows?limit=1000"] {
        println!("  {path:<40}{:>9.1}", time_of(|| get(&mut agent.api(), path)) * 1e3);
    }
    let search = format!("client={}", Flows::client(MANY / 2).ip());
    let all_pages = || search_all(&mut agent.api(), &search);
    println!("  {:<40}{:>9.1}", "/v1/flows?client=IP, all pages", time_of(all_pages) * 1e3);
    let pid = agent.process().pid();
    println!(
        "  memory of the agent, MiB: {} before, {} now",
        memory / 1024,
        resident_kib(pid) / 1024
    );

    let redis = Redis::start(&site.scratch, MANY);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut lines = Requests::new(REQUESTS, |lines| {
        let peer = Flows::peer(numbers.below(MANY));
        writeln!(lines, "{peer} 10.77.1.1:80").expect("memory takes what is written");
    });
    let mut gets = Requests::new(REQUESTS, |gets| redis::request(gets, numbers.below(MANY)));
    let as_fast = LOADS.map(|(connections, pipelined, requests)| {
        let load = Load { connections, pipelined, requests, lines: 1 };
        compare(&site, &redis, &load, &mut lines, &mut gets)
    });
    if as_fast == [true; LOADS.len()] {
        return ExitCode::SUCCESS;
    }
    eprintln!("\nthe line protocol is slower than what redis-benchmark finds");
    ExitCode::FAILURE
}

/// Whether the line protocol gives at least as many answers as `redis-benchmark` finds. With one connection, each
/// answer must also come at least as soon. With many connections, `redis-benchmark` leaves some of them idle, so that
/// its questions wait for fewer others. Then compare with the latency that this program's own generator measures for
/// Redis.
fn compare(
    site: &Site,
    redis: &Redis,
    load: &Load,
    lines: &mut Requests,
    gets: &mut Requests,
) -> bool {
    let socket = site.scratch.path("lookup.sock");
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let ours = load.run(&socket, lines);
        rounds.push([ours, redis.benchmark(load, MANY), redis.drive(load, gets)]);
    }
    let Load { connections, pipelined, .. } = load;
    println!("\nconnections: {connections}, pipelined: {pipelined}; medians of {ROUNDS} rounds");
    println!(
        "how many times better than each the line protocol is: the median of the rounds' ratios"
    );
    println!("  {:<26}{:>12}{:>9}{:>14}{:>9}", "", "answers/s", "", "latency µs", "");
    let of_rounds = |value: &dyn Fn(&[Speed; 3]) -> f64| {
        median(&mut rounds.iter().map(value).collect::<Vec<_>>())
    };
    let names = ["line protocol", "redis, redis-benchmark", "redis, this generator"];
    let mut better = Vec::new();
    for (which, name) in names.into_iter().enumerate() {
        let speed = of_rounds(&|round| round[which].per_second);
        let latency = of_rounds(&|round| round[which].latency) * 1e6;
        let more = of_rounds(&|round| round[0].per_second / round[which].per_second);
        let sooner = of_rounds(&|round| round[which].latency / round[0].latency);
        println!("  {name:<26}{speed:>12.0}{more:>8.2}x{latency:>14.0}{sooner:>8.2}x");
        better.push(more >= 1.0 && (sooner >= 1.0 || load.connections > 1));
    }
    better[1]
}

/// Entries of the flow table that no connection stands for.
struct Flows {
    table: FlowTable,
    like: (FlowKey, FlowRecord),
}

impl Flows {
    /// Like the one flow there is.
    fn of(site: &Site) -> Self {
        let table = FlowTable::of(site);
        let like = *table.entries().first().expect("a flow");
        Self { table, like }
    }

    fn fill(&mut self, numbers: std::ops::Range<u32>) {
        let (key, record) = self.like;
        for number in numbers {
            let peer = Peer::from(Self::peer(number));
            let client = Client::from(Self::client(number));
            let key =
                FlowKey { peer, local: Local::from(SocketAddr::from(([10, 77, 1, 1], 80))), ..key };
            self.table.insert(key, FlowRecord { client, ..record });
        }
    }

    fn peer(number: u32) -> SocketAddr {
        let port = 10_000 + u16::try_from(number % 50_000).expect("below 50,000");
        (Ipv4Addr::from(0x0a4e_0001 + number / 50_000), port).into()
    }

    /// One of 100,000.
    fn client(number: u32) -> SocketAddr {
        (Ipv4Addr::from(0xc612_0000 + number % 100_000), 40_000).into()
    }
}

/// Median times of single lookups, in seconds.
struct Singles {
    line: f64,
    http: f64,
}

impl Singles {
    /// Each of a flow out of so many, which are in the table.
    fn measure(agent: &Agent, flows: u32) -> Self {
        let mut numbers = Numbers(7);
        let mut peer = || Flows::peer(numbers.below(flows));
        let (mut lines, mut api) = (agent.lines(), agent.api());
        let line = times(SINGLES, || {
            assert_ne!(lines.ask(&format!("{} 10.77.1.1:80", peer())), "-");
        });
        let http = times(SINGLES, || {
            get(&mut api, &format!("/v1/flows/lookup?peer={}&local=10.77.1.1:80", peer()));
        });
        Self { line, http }
    }
}

fn times(number: usize, mut work: impl FnMut()) -> f64 {
    let mut time = || {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    median(&mut (0..number).map(|_| time()).collect::<Vec<_>>())
}

fn time_of(work: impl FnMut()) -> f64 {
    times(5, work)
}

fn get(api: &mut Api, path: &str) {
    let reply = api.reply("GET", path);
    assert_eq!(reply.status, 200, "{path}");
}

/// All pages of a search.
fn search_all(api: &mut Api, query: &str) {
    let (mut cursor, mut found) = (String::new(), 0);
    loop {
        let page = api.get(&format!("/v1/flows?{query}&limit=1000{cursor}"));
        found += page["flows"].as_array().expect("an array").len();
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(found, (MANY / 100_000) as usize, "flows of a client");
}

/// Marsaglia's xorshift64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(limit)).expect("below a u32")
    }
}
