//! The agent stopped, killed, started again and detached while connections live.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use proxyip_tests::servers::{EchoServer, PeerNames};
use proxyip_tests::{
    Agent, Guard, HandOff, Process, Site, address, agent_binary, anonymous_kib, eventually, header,
};

use crate::common::{
    CLIENT, DESTINATION, StopOnDrop, ask_names, assert_both, assert_echoed, auto_and_translate,
    exchange, header_of_client, open_and_send, open_for, pattern, socket_address, trusted_dial,
};

auto_and_translate!(
    kill_9_under_load_loses_no_connection,
    a_restarted_agent_knows_connections_opened_before_and_meanwhile
);

fn kill_9_under_load_loses_no_connection(hand_off: HandOff) {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let established: Vec<_> = (0..50).map(|number| open_for(&site, number).0).collect();

    let stop = AtomicBool::new(false);
    let exchanges = AtomicU32::new(0);
    let opened = AtomicU32::new(1000);
    let stopped = || stop.load(Ordering::Relaxed);
    thread::scope(|scope| {
        for streams in established.chunks(10) {
            scope.spawn(|| {
                while !stopped() {
                    streams.iter().for_each(exchange);
                    exchanges.fetch_add(1, Ordering::Relaxed);
                    // The captures had better not become too long to check.
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        for _ in 0..4 {
            scope.spawn(|| {
                while !stopped() {
                    open_for(&site, opened.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
        // A panic on this thread must not leave the others running for ever.
        let _stop = StopOnDrop(&stop);
        let wait = || thread::sleep(Duration::from_secs(1));
        let so_far = || (exchanges.load(Ordering::Relaxed), opened.load(Ordering::Relaxed));
        wait();
        agent.kill();
        let killed = so_far();
        wait();
        let without = so_far();
        assert!(without.0 > killed.0 + 5 && without.1 > killed.1 + 5, "{killed:?} {without:?}");
        agent.start_again();
        wait();
        let after = so_far();
        assert!(after.0 > without.0 + 5 && after.1 > without.1 + 5, "{without:?} {after:?}");
    });
    eprintln!("{} connections opened", opened.load(Ordering::Relaxed) - 1000 + 50);
    for stream in &established {
        assert_echoed(stream, &pattern(100_000));
    }
    site.finish(&mut agent, &[]);
}

fn a_restarted_agent_knows_connections_opened_before_and_meanwhile(hand_off: HandOff) {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
    let before = open_for(&site, 1);
    agent.process().signal(Signal::SIGTERM);
    assert_eq!(agent.process().wait().code(), Some(0), "exit code after SIGTERM");
    let meanwhile = open_for(&site, 2);
    agent.start_again();
    let after = open_for(&site, 3);

    for (stream, client) in [&before, &meanwhile, &after] {
        let peer = stream.local_addr().unwrap().to_string();
        let found = agent.ask(&["lookup", &peer, "10.77.1.1:80"]);
        assert_eq!((found.code, found.stdout), (0, client.to_string()), "{}", found.stderr);
        exchange(stream);
    }
    assert_eq!(agent.flows().len(), 3);
    // Their ends are noticed as well.
    let peers =
        [before, meanwhile, after].map(|(stream, _)| stream.local_addr().unwrap().to_string());
    for peer in peers {
        agent.wait_event("close", &peer);
    }
    site.finish(&mut agent, &[]);
}

/// Connections that were there first go on, whether the load balancer's or not.
#[test]
fn connections_opened_before_the_agent_go_on() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let stream = trusted_dial(80).open(&site.net.balancer);
    let own = stream.local_addr().unwrap();
    assert_both(ask_names(&stream), own);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    exchange(&stream);
    assert_eq!(agent.ask(&["lookup", &own.to_string(), "10.77.1.1:80"]).code, 1);
    assert_echoed(&stream, &pattern(100_000));
    site.finish(&mut agent, &[]);
}

#[test]
fn detach_removes_everything_but_the_connections() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let (stream, _) = open_for(&site, 1);
    agent.assert_healthy(&[]);
    agent.process().signal(Signal::SIGTERM);
    agent.process().wait();

    let pin_path = site.scratch.pin_path();
    assert!(pin_path.is_dir());
    let detached = agent.ask(&["detach", "--pin-path", &pin_path.display().to_string()]);
    assert_eq!(detached.code, 0, "{}", detached.stderr);
    assert!(detached.stdout.starts_with("detached: "), "{}", detached.stdout);
    assert!(!pin_path.exists(), "{} remains", pin_path.display());
    assert_echoed(&stream, &pattern(100_000));

    // As if proxyip had never been there.
    let version_1 = header::v1(socket_address(CLIENT), socket_address(DESTINATION));
    let stream = open_and_send(&site, &trusted_dial(80), &version_1);
    let (names, line) = PeerNames::read(&stream);
    assert_both(names, stream.local_addr().unwrap());
    assert!(line.contains("PROXY TCP4 198.51.100.7"), "{line}");
    // Programs are freed a moment after their last user has gone.
    eventually("no program of proxyip at the server's interface", || {
        let filters = site.net.server.run("tc filter show dev eth0 ingress");
        filters.is_empty().then_some(())
    });
    site.assert_clean();
}

#[test]
fn a_second_agent_refuses_and_names_the_first() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.args(["run", "--config", agent.config()]);
    let mut second = Process::start("second", site.scratch.directory(), &mut command);
    assert_eq!(second.wait().code(), Some(1), "{}", second.stderr());
    let pid = agent.process().pid().to_string();
    assert!(second.stderr().contains(&pid), "no process id {pid} in: {}", second.stderr());
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    site.finish(&mut agent, &[]);
}

#[test]
fn an_agent_gives_back_the_memory_that_loading_took() {
    let site = Site::without_captures();
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let pid = agent.process().pid();
    eventually("the agent has little memory", || (anonymous_kib(pid) < 15 << 10).then_some(()));
    site.finish(&mut agent, &[]);
}
