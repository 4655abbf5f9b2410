//! Large lists: the longest prefix wins for each client, and nobody waits while a list is loaded.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Site, address, eventually, header, turn};

use crate::common::{
    DESTINATION, DESTINATION6, StopOnDrop, ask_names, open_and_send, socket_address, trusted_dial,
};

const NETWORKS: usize = 100_000;

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

/// The bits of an address from the left, and how many of them count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Prefix {
    is_v4: bool,
    bits: u128,
    length: u32,
}

impl Prefix {
    fn of(address: IpAddr, length: u32) -> Self {
        let bits = match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let kept = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        Self { is_v4: address.is_ipv4(), bits: bits & kept, length }
    }

    fn random(random: &mut Random) -> Self {
        let address = random_address(random);
        let length = match address {
            IpAddr::V4(_) => 6 + random.below(27),
            IpAddr::V6(_) => 12 + random.below(117),
        };
        Self::of(address, u32::try_from(length).expect("a small number"))
    }

    /// An address in it.
    fn any(self, random: &mut Random) -> IpAddr {
        let rest = random.wide().checked_shr(self.length).unwrap_or(0);
        address_of(self.is_v4, self.bits | rest)
    }

    fn text(self) -> String {
        format!("{}/{}", address_of(self.is_v4, self.bits), self.length)
    }
}

fn address_of(is_v4: bool, bits: u128) -> IpAddr {
    if is_v4 {
        IpAddr::from(((bits >> 96) as u32).to_be_bytes())
    } else {
        IpAddr::from(bits.to_be_bytes())
    }
}

/// A random address. An IPv6 one is from `2000::/3`, which the internet uses.
fn random_address(random: &mut Random) -> IpAddr {
    let is_v4 = random.below(2) == 0;
    let bits = random.wide();
    address_of(is_v4, if is_v4 { bits } else { 0b001 << 125 | bits >> 3 })
}

/// Whether clients are allowed, by prefix.
struct Rules(HashMap<Prefix, bool>);

impl Rules {
    fn random(random: &mut Random) -> Self {
        let mut rules = HashMap::new();
        while rules.len() < NETWORKS {
            rules.insert(Prefix::random(random), random.below(2) == 0);
        }
        Self(rules)
    }

    /// Writes the files of the listener's two lists; their keys.
    fn write(&self, site: &Site) -> String {
        let file = |key: &str, allowed: bool| {
            let chosen = self.0.iter().filter(|(_, is_allowed)| **is_allowed == allowed);
            let text: String = chosen.map(|(prefix, _)| prefix.text() + "\n").collect();
            format!("{key}_file = {:?}\n", site.scratch.write(key, &text))
        };
        file("allow", true) + &file("deny", false)
    }

    /// What the longest prefix says; as there is a list of allowed ones, others are not.
    fn allow(&self, client: IpAddr) -> bool {
        let mut prefixes = (0..=128).rev().map(|length| Prefix::of(client, length));
        prefixes.find_map(|prefix| self.0.get(&prefix).copied()).unwrap_or(false)
    }

    /// Half of them in one of the prefixes.
    fn probes(&self, random: &mut Random, count: usize) -> Vec<IpAddr> {
        let mut prefixes: Vec<_> = self.0.keys().copied().collect();
        prefixes.sort_unstable_by_key(|prefix| (prefix.bits, prefix.length, prefix.is_v4));
        let probe = |number| {
            if number % 2 == 0 {
                return random_address(random);
            }
            let at = random.below(prefixes.len() as u64);
            prefixes[usize::try_from(at).expect("an index")].any(random)
        };
        (0..count).map(probe).collect()
    }
}

/// Whether a connection for this client reaches the application.
fn connects(site: &Site, port: u16, client: IpAddr) -> bool {
    let client = SocketAddr::new(client, 40_000);
    let to = if client.is_ipv4() { DESTINATION } else { DESTINATION6 };
    let mut bytes = header::v2(client, socket_address(to));
    bytes.extend(b"who am I?\n");
    let stream = open_and_send(site, &trusted_dial(port), &bytes);
    proxyip_tests::read_line_or_error(&stream).is_ok()
}

#[test]
fn a_hundred_thousand_networks_decide_as_they_should() {
    const PROBES: usize = 10_000;
    const CONNECTIONS: usize = 400;
    let _alone = turn::alone();
    let random = &mut Random(0x5eed);
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let rules = Rules::random(random);
    let guard = Guard::ports(&[80]).setting(&rules.write(&site));
    let start = Instant::now();
    let mut agent = Agent::start(&site, &guard);
    eprintln!("an agent with {NETWORKS} networks is ready after {:?}", start.elapsed());

    let probes = rules.probes(random, PROBES);
    let mut api = agent.api();
    let start = Instant::now();
    let mut allowed = 0;
    for client in &probes {
        let (status, decision) = api.request("GET", &format!("/v1/acl/web/test?client={client}"));
        let expected = if rules.allow(*client) { "allow" } else { "deny" };
        assert_eq!((status, decision["verdict"].as_str()), (200, Some(expected)), "{client}");
        allowed += usize::from(expected == "allow");
    }
    eprintln!("{PROBES} probes, {allowed} allowed, in {:?}", start.elapsed());
    assert!(allowed > PROBES / 5 && allowed < PROBES * 4 / 5, "both verdicts: {allowed}");

    let (mut denied, start) = (0, Instant::now());
    for client in &probes[..CONNECTIONS] {
        assert_eq!(connects(&site, 80, *client), rules.allow(*client), "{client}");
        denied += u64::from(!rules.allow(*client));
    }
    eprintln!("{CONNECTIONS} connections, {denied} refused, in {:?}", start.elapsed());
    site.finish(&mut agent, &[("denied_reset", denied)]);
}

#[test]
fn nobody_waits_for_a_hundred_thousand_networks() {
    /// In both lists, so that it may always connect.
    const CLIENT: &str = "198.51.100.7";
    const WORKERS: usize = 2;
    let _alone = turn::alone();
    let random = &mut Random(0xfeed);
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = |rules: &Rules| {
        let always = format!("allow = [\"{CLIENT}/32\"]\n{}", rules.write(&site));
        Guard::ports(&[80]).hand_off(HandOff::Translate).setting(&always)
    };
    let rules = || {
        let mut rules = Rules::random(&mut *random);
        rules.0.remove(&Prefix::of(CLIENT.parse().expect("an address"), 32));
        rules
    };
    let policies: Vec<_> = std::iter::repeat_with(rules).take(3).collect();
    let kept: HashSet<_> = policies[0].0.keys().collect();
    let kept = policies[1].0.keys().filter(|prefix| kept.contains(prefix)).count();
    assert!(kept < NETWORKS / 20, "{kept} prefixes are the same");
    let mut agent = Agent::start(&site, &guard(&policies[0]));
    let stop = AtomicBool::new(false);
    let count = AtomicUsize::new(0);
    let longest = Mutex::new(Duration::ZERO);
    let open = || {
        let start = Instant::now();
        assert!(connects(&site, 80, CLIENT.parse().expect("an address")), "a client is refused");
        let mut longest = longest.lock().expect("nobody panics with it");
        *longest = start.elapsed().max(*longest);
        count.fetch_add(1, Ordering::Relaxed);
    };
    // Until so many have been opened.
    let wait = |more| {
        let goal = count.load(Ordering::Relaxed) + more;
        eventually("connections", || (count.load(Ordering::Relaxed) >= goal).then_some(()));
        std::mem::take(&mut *longest.lock().expect("nobody panics with it"))
    };
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    open();
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        let before = wait(200);
        for rules in &policies[1..] {
            let guard = guard(rules);
            let (start, opened) = (Instant::now(), count.load(Ordering::Relaxed));
            let said = agent.reload(&guard);
            assert!(said.contains("in force as it is now"), "{said}");
            let (took, opened) = (start.elapsed(), count.load(Ordering::Relaxed) - opened);
            // What was replaced is removed meanwhile.
            let during = wait(500);
            eprintln!(
                "{NETWORKS} other networks in {took:?}; {opened} connections meanwhile, the longest of all {during:?}, \
                 before that {before:?}"
            );
            assert!(opened > 0, "no connection while networks were loaded");
            // A busy machine makes connections wait before that, too.
            assert!(
                during < Duration::from_secs(1).max(before * 3),
                "{during:?}, before {before:?}"
            );
        }
    });
    site.finish(&mut agent, &[]);
}

/// Rounds with and without the list take turns, so that other load on the machine affects both.
#[test]
fn a_hundred_thousand_networks_cost_little() {
    const ROUNDS: usize = 7;
    const CONNECTIONS: u32 = 300;
    let _alone = turn::alone();
    let site = Site::without_captures();
    let _echoes = [80, 81].map(|port| EchoServer::start(&site.net.server, address::SERVER, port));
    let rules = Rules::random(&mut Random(0xc057));
    let client = *rules
        .probes(&mut Random(1), 100)
        .iter()
        .find(|client| client.is_ipv4() && rules.allow(**client))
        .expect("an allowed client");
    let listed = Guard::ports(&[80]).setting(&rules.write(&site));
    let mut agent = Agent::start(&site, &listed.with(&Guard::ports(&[81]).named("open")));
    let header = header::v2(SocketAddr::new(client, 40_000), socket_address(DESTINATION));
    let rate = |port: u16| {
        let dial = trusted_dial(port);
        let start = Instant::now();
        site.net.balancer.enter(|| {
            for _ in 0..CONNECTIONS {
                let mut stream = dial.attempt_here().expect("a connection");
                std::io::Write::write_all(&mut stream, &header).expect("cannot send");
                assert_eq!(ask_names(&stream).accepted.ip(), client);
            }
        });
        f64::from(CONNECTIONS) / start.elapsed().as_secs_f64()
    };
    let mut rounds: Vec<_> = std::iter::repeat_with(|| (rate(80), rate(81))).take(ROUNDS).collect();
    rounds.sort_by(|one, other| (one.0 / one.1).total_cmp(&(other.0 / other.1)));
    let (with, without) = rounds[ROUNDS / 2];
    let ratio = with / without;
    eprintln!(
        "connections per second: {with:.0} with {NETWORKS} networks, {without:.0} without; median ratio {ratio:.3}, \
         all: {rounds:.0?}"
    );
    assert!(ratio > 0.5, "{ratio}");
    site.finish(&mut agent, &[]);
}
