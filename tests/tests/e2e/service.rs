//! The systemd unit: what systemd thinks of it, whether the agent can live with what it allows, and signals and
//! notifications as systemd sends and expects them.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use proxyip_tests::documents::repository;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Process, Site, address, agent_binary, eventually, run};

use crate::common::{CLIENT, ask_names, assert_both, header_of_client, open_and_send};
use crate::common::{socket_address, trusted_dial};

/// What `systemd-analyze security` may give it: ten times the exposure that it prints.
const EXPOSURE: &str = "--threshold=45";

fn unit() -> String {
    let path = repository().join("deploy/proxyip.service");
    fs::read_to_string(path).expect("the unit")
}

#[test]
fn systemd_finds_no_mistake_in_the_unit() {
    let site = Site::without_captures();
    let binary = agent_binary().display().to_string();
    let unit = unit().replace("/usr/local/sbin/proxyip", &binary);
    let path = site.scratch.write("proxyip.service", &unit);
    run("systemd-analyze", &["verify", "--man=no", &path]);
    run("systemd-analyze", &["security", "--offline=true", EXPOSURE, &path]);
}

#[test]
fn the_units_capabilities_are_enough() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let unit = unit();
    let lines = unit.lines().filter_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let names = lines.flat_map(|line| line.split(' ')).map(|name| {
        let name = name.strip_prefix("CAP_").expect("the name of a capability");
        format!(",+{}", name.to_lowercase())
    });
    let set = format!("-all{}", names.collect::<String>());
    let mut command = site.net.server.command("setpriv");
    command.args(["--no-new-privs", "--bounding-set", &set]).arg(agent_binary());
    let guard = Guard::ports(&[80]).hand_off(HandOff::Translate);
    let mut agent = Agent::start_by(command, &site, &guard);
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    site.finish(&mut agent, &[]);
}

#[test]
fn the_watchdog_hears_that_the_agent_goes_on() {
    let site = Site::without_captures();
    let path = site.scratch.path("notify.sock");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "30000000");
    let mut agent = Agent::start_by(command, &site, &Guard::ports(&[80]));
    let next = || {
        let mut message = [0; 4096];
        // A call with a time limit is not begun again after a signal.
        let length = loop {
            match manager.recv(&mut message) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.expect("a notification"),
            }
        };
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    assert!(next().starts_with("READY=1"));
    assert_eq!([next().trim(), next().trim()], ["WATCHDOG=1"; 2]);
    agent.assert_healthy(&[]);
}

/// Lists of millions of networks take seconds to read. A pipe takes as long as the test wants.
#[test]
fn a_reload_during_the_start_is_done_after_it() {
    let site = Site::without_captures();
    let config = site.scratch.path("pipe");
    mkfifo(&config, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
    let toml = Guard::ports(&[80]).toml(&site.scratch);
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.args(["run", "--config", &config.display().to_string()]);
    let mut agent = Process::start("proxyip", site.scratch.directory(), &mut command);
    agent.ready("signals are awaited", |agent| {
        let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        (caught & 1 << (Signal::SIGHUP as u64 - 1) != 0).then_some(())
    });
    agent.signal(Signal::SIGHUP);
    fs::write(&config, &toml).expect("the configuration");
    eventually("the start", || agent.stderr().contains("ready; the API").then_some(()));
    fs::write(&config, &toml).expect("the configuration again");
    eventually("the reload", || agent.stderr().contains("SIGHUP: the configuration").then_some(()));
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.stderr());
}
