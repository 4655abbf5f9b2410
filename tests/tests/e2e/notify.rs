//! The agent's notifications to systemd.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use proxyip_tests::{Agent, Guard, Site};

/// The notification that comes next, line by line.
fn next(manager: &UnixDatagram) -> Vec<String> {
    let mut message = [0; 4096];
    let length = manager.recv(&mut message).expect("a notification");
    let text = std::str::from_utf8(&message[..length]).expect("text");
    text.lines().map(str::to_owned).collect()
}

fn microseconds_now() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
    now.tv_sec() * 1_000_000 + now.tv_nsec() / 1_000
}

fn assert_reloading(message: &[String], since: i64) {
    let [first, second] = message else { panic!("{message:?}") };
    assert_eq!(first, "RELOADING=1");
    let time = second.strip_prefix("MONOTONIC_USEC=").expect("the time of the reload");
    let time: i64 = time.parse().expect("a number");
    assert!((since..=microseconds_now()).contains(&time), "{time}");
}

#[test]
fn systemd_hears_of_start_reload_and_end() {
    let site = Site::without_captures();
    let path = site.scratch.path("notify.sock");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    let guard = Guard::ports(&[80]);
    let in_force = ["READY=1", "STATUS=the configuration is in force"];

    let mut agent = Agent::start_notifying(&path, &site, &guard);
    assert_eq!(next(&manager), in_force);

    let since = microseconds_now();
    agent.hang_up();
    assert_reloading(&next(&manager), since);
    assert_eq!(next(&manager), in_force);

    let since = microseconds_now();
    agent.reload(&guard.clone().setting("nonsense = 1"));
    assert_reloading(&next(&manager), since);
    let kept = "STATUS=the last reload failed: the old configuration stays in force";
    assert_eq!(next(&manager), ["READY=1", kept]);

    agent.process().signal(Signal::SIGTERM);
    assert_eq!(next(&manager), ["STOPPING=1"]);
    agent.process().wait();
    manager.set_nonblocking(true).expect("a socket");
    let nothing = manager.recv(&mut [0; 1]).expect_err("no more notifications");
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
}
