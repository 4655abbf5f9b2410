//! Policies that change while connections are made: each connection is judged by the old one or the new one, whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, address, header, read_line_or_error, turn};

use crate::common::{DESTINATION, DESTINATION6, StopOnDrop, socket_address, trusted_dial};

const SWITCHES: usize = 50;
/// In the list of allowed ones, so that writing or removing it takes its time.
const NETWORKS: u32 = 20_000;

/// Clients that both policies let in: by the first network of the list, by the last of IPv4, by the last of all.
const BOTH: [&str; 3] = ["1.0.0.7", "198.51.100.7", "2001:db8:5::7"];
/// Clients that both policies refuse: by the last network of the list, though the first one contains the client; by
/// none; by the very last.
const NEITHER: [&str; 3] = ["1.255.0.7", "203.0.113.99", "2001:db8:5::8"];
/// Clients that one policy lets in.
const ONLY_A: &str = "198.51.100.65";
const ONLY_B: &str = "198.51.100.66";

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// The application got it from the client of the header.
    Accepted,
    /// The application got it from the load balancer, with the header.
    Bypassed,
    /// It was reset.
    Reset,
    /// Nothing came.
    Silence,
}

type Fates = BTreeMap<(&'static str, Fate), usize>;

/// Opens a connection for this client.
fn try_client(dial: &Dial, client: &str) -> Fate {
    let client = SocketAddr::new(client.parse().expect("an address"), 40_000);
    let to = if client.is_ipv4() { DESTINATION } else { DESTINATION6 };
    let mut bytes = header::v1(client, socket_address(to));
    bytes.extend(b"who am I?\n");
    let answer = dial.attempt_here().and_then(|mut stream| {
        stream.write_all(&bytes)?;
        read_line_or_error(&stream)
    });
    match answer {
        Ok(line) if line.ends_with(r#""who am I?""#) => {
            // To an IPv4 socket an IPv6 client is the load balancer.
            let named = client.is_ipv6() || line.starts_with(&client.to_string());
            assert!(named, "{client}: {line}");
            Fate::Accepted
        }
        Ok(line) if line.contains(r#""PROXY TCP"#) => Fate::Bypassed,
        Ok(line) => panic!("{client}: {line:?}"),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused | ErrorKind::BrokenPipe => {
                Fate::Reset
            }
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Fate::Silence,
            _ => panic!("{client}: {error}"),
        },
    }
}

/// Opens connections for these clients, in turns on several threads, while `change` runs and for one more turn each.
fn fates_during(site: &Site, clients: &[(&Dial, &[&'static str])], change: impl FnOnce()) -> Fates {
    let stop = AtomicBool::new(false);
    let work = |dial: &Dial, clients: &[&'static str]| {
        let mut fates = Fates::new();
        loop {
            let last = stop.load(Ordering::Relaxed);
            for client in clients {
                let fate = try_client(dial, client);
                *fates.entry((client, fate)).or_default() += 1;
                if fate == Fate::Reset {
                    // That is quick; the agent needs the processors, too.
                    thread::sleep(Duration::from_millis(5));
                }
            }
            if last {
                return fates;
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = clients
            .iter()
            .map(|(dial, clients)| scope.spawn(|| site.net.balancer.enter(|| work(dial, clients))))
            .collect();
        {
            let _stop = StopOnDrop(&stop);
            change();
        }
        let mut all = Fates::new();
        for worker in workers {
            let fates = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for (key, count) in fates {
                *all.entry(key).or_default() += count;
            }
        }
        all
    })
}

/// Asserts that each of these clients had one of these fates, and had some.
fn assert_fates(fates: &Fates, clients: &[&'static str], expected: &[Fate]) {
    for client in clients {
        let seen: Vec<_> = fates.keys().filter(|(one, _)| one == client).collect();
        assert!(!seen.is_empty(), "{client}: {fates:?}");
        assert!(seen.iter().all(|(_, fate)| expected.contains(fate)), "{client}: {fates:#?}");
    }
}

/// Networks of one address each, below `first.0.0.0`, in order.
fn fillers(first: u8, count: u32) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let [_, high, middle, low] = (number * 16).to_be_bytes();
        writeln!(text, "{first}.{}.{middle}.{low}/32", 16 + high).expect("a String grows");
        text
    })
}

/// Files of the networks of both policies, as lines of the listener.
fn files(site: &Site) -> String {
    let trusted = format!("{}{}\n{}\n", fillers(9, 2000), address::BALANCER, address::BALANCER6);
    let allow = format!("1.0.0.0/8\n{}198.51.100.7\n2001:db8:5::/48\n", fillers(172, NETWORKS));
    let deny = format!("{}1.255.0.0/16\n2001:db8:5::8\n", fillers(1, 2000));
    let lines = [("trusted", trusted), ("allow", allow), ("deny", deny)].map(|(key, networks)| {
        let networks = networks.lines().map(whole).collect::<String>();
        format!("{key}_file = {:?}\n", site.scratch.write(key, &networks))
    });
    lines.concat()
}

/// A line with a network. The given line may have an address alone.
fn whole(line: &str) -> String {
    let bits = if line.contains(':') { 128 } else { 32 };
    if line.contains('/') { format!("{line}\n") } else { format!("{line}/{bits}\n") }
}

#[test]
fn reloads_give_no_mixture_of_two_policies() {
    let _alone = turn::alone();
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let files = files(&site);
    let policy = |only: &str, denied: &str, untrusted: &str| {
        let settings = format!("{files}denied = {denied:?}\nuntrusted = {untrusted:?}");
        // Nobody but the file is to say that the load balancer is trusted.
        let guard = Guard::ports(&[80]).trusting("192.0.2.0/24").hand_off(HandOff::Translate);
        guard.setting(&settings).setting(&format!("allow = [\"{only}/32\"]"))
    };
    let a = policy(ONLY_A, "reset", "reset");
    let b = policy(ONLY_B, "drop", "bypass");
    let mut agent = Agent::start(&site, &a);
    let trusted = trusted_dial(80);
    let stranger = Dial::to(address::SERVER, 80).from(address::STRANGER, 0);
    let workers: &[(&Dial, &[&str])] = &[
        (&trusted, &BOTH),
        (&trusted, &BOTH),
        (&trusted, &BOTH),
        (&trusted, &NEITHER),
        (&trusted, &NEITHER),
        (&trusted, &[ONLY_A, ONLY_B]),
        (&trusted, &[ONLY_B]),
        (&stranger, &["198.51.100.77"]),
    ];
    let start = Instant::now();
    let fates = fates_during(&site, workers, || {
        // It ends with A, which does not leave anybody waiting.
        for policy in [&b, &a].into_iter().cycle().take(SWITCHES) {
            let said = agent.reload(policy);
            assert!(said.contains("in force as it is now"), "{said}");
        }
        eprintln!("{SWITCHES} reloads in {:?}", start.elapsed());
    });
    eprintln!("{fates:#?}");
    assert_fates(&fates, &BOTH, &[Fate::Accepted]);
    assert_fates(&fates, &NEITHER, &[Fate::Reset, Fate::Silence]);
    assert_fates(&fates, &[ONLY_A, ONLY_B], &[Fate::Accepted, Fate::Reset, Fate::Silence]);
    assert_fates(&fates, &["198.51.100.77"], &[Fate::Bypassed, Fate::Reset]);
    // Both policies were in force while connections were made.
    for key in [(ONLY_A, Fate::Accepted), (ONLY_B, Fate::Accepted), (ONLY_B, Fate::Reset)] {
        assert!(fates.contains_key(&key), "{key:?}");
    }
    let drops = agent.numbers("drops");
    let reasons: Vec<_> = drops.keys().map(String::as_str).collect();
    assert_eq!(reasons, ["denied_dropped", "denied_reset", "untrusted_reset"]);
    assert!(agent.process().is_alive());
    site.assert_clean();
}

/// A rule comes and goes for a network that the configuration does not name. Another one for all of IPv6 does the
/// same, and causes all rules to be written anew. Smaller networks are not affected.
#[test]
fn commands_give_no_mixture_of_two_policies() {
    const COMMANDS: [[&str; 2]; 6] = [
        ["deny", "198.51.100.64/26"],
        ["deny", "::/0"],
        ["allow", "198.51.100.64/26"],
        ["remove", "::/0"],
        ["deny", "198.51.100.64/26"],
        ["remove", "198.51.100.64/26"],
    ];
    const OPEN: [[&str; 2]; 2] = [["deny", "198.51.100.65/32"], ["remove", "198.51.100.65/32"]];
    let _alone = turn::alone();
    let site = Site::without_captures();
    let _echoes = [80, 81].map(|port| EchoServer::start(&site.net.server, address::SERVER, port));
    let guard = |port| Guard::ports(&[port]).trusting("192.0.2.0/24");
    // In it a smaller network, which stays.
    let listed = guard(80).setting(&files(&site)).setting("allow = [\"198.51.100.66/32\"]");
    let open = Guard::ports(&[81]).named("open");
    let agent = &mut Agent::start(&site, &listed.with(&open));
    let (trusted, to_open) = (trusted_dial(80), trusted_dial(81));
    let workers: &[(&Dial, &[&str])] = &[
        (&trusted, &BOTH),
        (&trusted, &["198.51.100.66"]),
        (&trusted, &NEITHER),
        (&trusted, &["198.51.100.67"]),
        (&to_open, &["198.51.100.7", "198.51.100.64"]),
        (&to_open, &["198.51.100.65"]),
    ];
    let fates = fates_during(&site, workers, || {
        let lists = COMMANDS.iter().cycle().zip(OPEN.iter().cycle());
        for (listed, open) in lists.take(SWITCHES / 2) {
            for (listener, [verb, network]) in [("web", listed), ("open", open)] {
                let answer = agent.ask(&["acl", verb, listener, network]);
                assert_eq!(answer.code, 0, "{answer:?}");
            }
        }
    });
    eprintln!("{fates:#?}");
    assert_fates(&fates, &BOTH, &[Fate::Accepted]);
    assert_fates(&fates, &["198.51.100.66", "198.51.100.64"], &[Fate::Accepted]);
    assert_fates(&fates, &NEITHER, &[Fate::Reset]);
    for client in ["198.51.100.65", "198.51.100.67"] {
        assert_fates(&fates, &[client], &[Fate::Accepted, Fate::Reset]);
        assert!(
            [Fate::Accepted, Fate::Reset].iter().all(|fate| fates.contains_key(&(client, *fate)))
        );
    }
    let drops = agent.numbers("drops");
    assert_eq!(drops.keys().map(String::as_str).collect::<Vec<_>>(), ["denied_reset"]);
    site.assert_clean();
}
