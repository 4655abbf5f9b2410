//! The soak: real clients behind `HAProxy` for minutes, while the agent is reloaded, stopped, frozen and killed.
//!
//! No connection may fail, and none may have another client than its own. The agent must not grow.

mod clients;
mod life;
mod log;
mod size;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, panic};

use proxyip_tests::balancers::HaProxy;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Site, remove_everything, use_agent_binary, visitors};

use crate::clients::{Clients, StopOnDrop};
use crate::life::{End, Life, guard};
use crate::log::FlowLog;
use crate::size::Size;

/// The shortest life of an agent, and the longest one. A leak needs time to show, and each life ends in another way.
const SHORTEST: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_mins(3);

/// How many lives the time is divided into, unless they became too short or too long.
const LIVES: u32 = 6;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let binary = arguments.next().map(PathBuf::from).filter(|path| path.is_file());
    let minutes = arguments.next().and_then(|text| text.to_str()?.parse().ok());
    let (Some(binary), Some(minutes)) = (binary, minutes) else {
        eprintln!("usage: soak PROXYIP MINUTES (the path of the program, and a whole number)");
        return ExitCode::from(2);
    };
    use_agent_binary(binary);
    // A panic has printed its message, and dropping the fixtures has removed what they made.
    let outcome = panic::catch_unwind(|| soak(Duration::from_mins(minutes)));
    remove_everything();
    if outcome.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn soak(time: Duration) {
    let site = Site::without_captures();
    let _servers = [80, 81].map(|port| EchoServer::start(&site.net.server, "::", port));
    let _balancers = [
        HaProxy::start(&site, 80, "10.77.1.1:80", "send-proxy-v2"),
        HaProxy::start(&site, 81, "fd00:77:1::1:81", "send-proxy"),
    ];
    visitors::make_addresses(&site);
    let mut agent = Agent::start(&site, &guard());
    let clients = Clients::default();
    let sizes = thread::scope(|scope| {
        let _stop = StopOnDrop(&clients);
        for number in 0..clients::WORKERS {
            let (site, clients) = (&site, &clients);
            scope.spawn(move || site.net.client.enter(|| clients.work(number)));
        }
        clients.wait_ready();
        live(&site, &mut agent, &clients, time)
    });
    assert!(sizes.len() > 1, "one life only: give it more time");
    let (first, last) = (&sizes[0], &sizes[sizes.len() - 1]);
    last.assert_no_larger_than(first, "at the end of the last life, compared with the first one");
    let opened = clients.assert_right();
    println!(
        "{opened} connections in {} lives of the agent: none failed, and none had a wrong client",
        sizes.len()
    );
    site.assert_clean();
}

/// One agent after the other. The sizes of each at its end.
fn live<'site>(
    site: &'site Site,
    agent: &mut Agent<'site>,
    clients: &Clients,
    time: Duration,
) -> Vec<Size> {
    let end = Instant::now() + time;
    let length = (time / LIVES).clamp(SHORTEST, LONGEST);
    let mut log = FlowLog::open(site);
    let mut sizes = Vec::new();
    loop {
        let mut life = Life { site, agent, clients, log: &mut log };
        let (young, old) = life.pass(length);
        println!("life {}:\n  young {young}\n  old   {old}", sizes.len() + 1);
        old.assert_no_larger_than(&young, "at the end of this life, compared with its beginning");
        sizes.push(old);
        if Instant::now() > end {
            return sizes;
        }
        life.end(if sizes.len().is_multiple_of(2) { End::Terminated } else { End::Killed });
    }
}
