//! `proxyip run` without a file, and configurations that are wrong.

use std::time::Duration;

use nix::sys::signal::Signal;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Answer, Process, Scratch, Site, address, agent_binary, attempt, eventually};

use crate::common::{
    CLIENT, ask_names, assert_both, header_of_client, open_and_send, socket_address, trusted_dial,
};

/// An agent that has its whole configuration from the command line.
fn start_without_file(site: &Site, more: &[&str]) -> Process {
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.args(["run", "--interface", "eth0", "--port", "80", "--port", "8000-8010"]);
    command.args(["--trust", "10.77.1.2/32", "--trust", "fd00::/8"]).args(more);
    command.arg("--pin-path").arg(site.scratch.pin_path());
    command.arg("--socket").arg(site.scratch.path("api.sock"));
    let mut agent = Process::start("proxyip", site.scratch.directory(), &mut command);
    agent.ready("answers `proxyip status`", |_| (ask(site, &["status"]).code == 0).then_some(()));
    agent
}

fn ask(site: &Site, arguments: &[&str]) -> Answer {
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.args(arguments).env("PROXYIP_SOCKET", site.scratch.path("api.sock"));
    attempt(&mut command).into()
}

#[test]
fn run_needs_no_file() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 8005);
    let mut agent = start_without_file(&site, &[]);
    let stream = open_and_send(&site, &trusted_dial(8005), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    let peer = stream.local_addr().unwrap().to_string();
    assert_eq!(ask(&site, &["lookup", &peer, "10.77.1.1:8005"]).stdout, CLIENT);
    eventually("a line of the flow log", || agent.stdout().contains(CLIENT).then_some(()));

    agent.signal(Signal::SIGINT);
    assert_eq!(agent.wait().code(), Some(0), "exit code after SIGINT");
    let pin_path = site.scratch.pin_path().display().to_string();
    assert_eq!(ask(&site, &["detach", "--pin-path", &pin_path]).code, 0);
    site.assert_clean();
}

#[test]
fn kernel_programs_are_silent_unless_asked() {
    for (arguments, speaks) in [([].as_slice(), false), (&["--kernel-log", "trace"], true)] {
        let site = Site::new();
        let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
        let agent = start_without_file(&site, arguments);
        let before = agent.stderr().lines().count();
        let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
        assert_both(ask_names(&stream), socket_address(CLIENT));
        if speaks {
            eventually("messages", || (agent.stderr().lines().count() > before).then_some(()));
        } else {
            std::thread::sleep(Duration::from_millis(500));
        }
        let log = agent.stderr();
        assert_eq!(log.lines().count() > before, speaks, "{arguments:?}: {log}");
        eprintln!("{arguments:?}: {log}");
        site.assert_clean();
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        ["run"].as_slice(),
        &["run", "--interface", "eth0", "--port", "80"],
        &["run", "--interface", "eth0", "--port", "80", "--trust", "10.0.0.0/33"],
        &["run", "--interface", "eth0", "--port", "0", "--trust", "10.0.0.0/8"],
        &["nonsense"],
    ] {
        let mut command = std::process::Command::new(agent_binary());
        let answer = Answer::from(attempt(command.args(arguments)));
        assert_eq!(answer.code, 2, "{arguments:?}: {answer:?}");
        assert!(!answer.stderr.is_empty());
    }
}

/// Each: what is wrong on which line, and the key that the message must name.
#[test]
fn a_wrong_configuration_names_file_line_and_key() {
    const LISTENER: &str = "[[listener]]\nports = [80]\ntrusted = [\"10.0.0.0/8\"]\n";
    for (line, key, text) in [
        (2, "ports", "[[listener]]\nports = [\"80-70\"]\ntrusted = [\"10.0.0.0/8\"]\n".to_owned()),
        (3, "trusted", "[[listener]]\nports = [80]\ntrusted = [\"10.0.0.0/33\"]\n".to_owned()),
        (4, "versions", format!("{LISTENER}versions = [\"v3\"]\n")),
        (4, "colour", format!("{LISTENER}colour = 1\n")),
        (4, "hand_off", format!("{LISTENER}hand_off = \"guess\"\n")),
        (4, "allow", format!("{LISTENER}allow = [\"203.0.113.0/33\"]\n")),
        (5, "flows", format!("{LISTENER}[log]\nflows = \"xml\"\n")),
    ] {
        let scratch = Scratch::new();
        let file = scratch.write("wrong.toml", &format!("{text}\n[[interface]]\nname = \"lo\"\n"));
        let mut command = std::process::Command::new(agent_binary());
        let pin_path = scratch.pin_path();
        command.args(["run", "--config", &file, "--pin-path"]).arg(&pin_path);
        let answer = Answer::from(attempt(&mut command));
        assert_eq!(answer.code, 2, "{text}{answer:?}");
        let place = format!("{file}:{line}");
        let named = [place.as_str(), key].iter().all(|part| answer.stderr.contains(part));
        assert!(named, "neither {place} nor `{key}` may be missing: {}", answer.stderr);
        assert!(!pin_path.exists());
    }
}

#[test]
fn a_missing_interface_is_named() {
    let site = Site::without_captures();
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.args(["run", "--interface", "eth7", "--port", "80", "--trust", "10.0.0.0/8"]);
    command.arg("--pin-path").arg(site.scratch.pin_path());
    let mut agent = Process::start("proxyip", site.scratch.directory(), &mut command);
    assert_eq!(agent.wait().code(), Some(1), "{}", agent.stderr());
    assert!(agent.stderr().contains("eth7"), "{}", agent.stderr());
}
