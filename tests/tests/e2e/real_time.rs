//! Kernels built with `PREEMPT_RT`, from the version on in which packets may interrupt one another.

use std::fs;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Answer, Guard, Site, address, agent_binary, attempt};

use crate::common::open_for;

/// The sentence's part that names what a kernel would need.
const OPTION: &str = "CONFIG_PREEMPT_RT_NEEDS_BH_LOCK=y";

/// Whether this kernel is refused. Debian's kernels from 6.18 on lack the option.
fn is_refused() -> bool {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/sys/kernel/{name}")).expect("the kernel says what it is")
    };
    let release = read("osrelease");
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().expect("a major number"), numbers.next().unwrap_or_default());
    read("version").contains("PREEMPT_RT") && version >= (6, 18)
}

/// Starts the agent with the smallest configuration, or lets it check the host.
fn ask(site: &Site, arguments: &[&str]) -> Answer {
    let pin_path = site.scratch.pin_path().display().to_string();
    let file = site.scratch.write(
        "proxyip.toml",
        &format!(
            "[[listener]]\nports = [80]\ntrusted = [\"10.77.1.2/32\"]\n[agent]\npin_path = {pin_path:?}\n"
        ),
    );
    let socket = site.scratch.path("nobody.sock").display().to_string();
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.args(arguments).args(["--config", &file, "--socket", &socket]);
    attempt(&mut command).into()
}

/// `cargo xtask vm newest-rt --tests real_time::` runs it where the agent refuses to start.
#[test]
fn a_kernel_whose_packets_interrupt_one_another_is_refused() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let check = ask(&site, &["check"]);
    if !is_refused() {
        assert!(!check.stdout.contains(OPTION), "{check:?}");
        let mut agent = Agent::start(&site, &Guard::ports(&[80]));
        open_for(&site, 1);
        agent.assert_healthy(&[]);
        return;
    }
    assert_eq!(check.code, 2, "{check:?}");
    assert!(check.stdout.contains(OPTION), "{check:?}");
    let run = ask(&site, &["run"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains(OPTION), "{run:?}");
    assert!(!site.scratch.pin_path().exists(), "nothing was attached");
}
