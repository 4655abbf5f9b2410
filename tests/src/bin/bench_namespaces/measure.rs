//! An agent that serves so many namespaces, and what it costs.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use proxyip_api::status::Status;
use proxyip_tests::{
    Api, Held, KernelObjects, Process, Scratch, Usage, agent_binary, attempt, is_ready, until,
};

use crate::fleet::Fleet;

/// An agent looks more often at a namespace that has come half a minute ago.
const SETTLES: Duration = Duration::from_secs(35);
/// An agent that is not done by then never is.
const PATIENCE: Duration = Duration::from_mins(15);

/// What an agent costs that serves so many namespaces.
pub(crate) struct Cost {
    pub(crate) namespaces: usize,
    /// From the start of the program until all are attached.
    pub(crate) attached: Duration,
    /// The agent's processor time until then.
    pub(crate) processor: Duration,
    pub(crate) usage: Usage,
    pub(crate) held: Held,
    /// The share of one processor at rest.
    pub(crate) rest: f64,
}

/// Starts an agent, measures it, and removes all that it has made.
pub(crate) fn measure(fleet: &mut Fleet, scratch: &Scratch, size: usize, rest: Duration) -> Cost {
    fleet.grow(size);
    let begun = Instant::now();
    let mut agent = start(fleet, scratch);
    let pid = agent.pid();
    wait_attached(scratch, &mut agent, size);
    let attached = begun.elapsed();
    let processor = Usage::of(pid).processor;
    thread::sleep(SETTLES);
    let before = Usage::of(pid).processor;
    thread::sleep(rest);
    let usage = Usage::of(pid);
    let used = usage.processor.saturating_sub(before);
    let held = KernelObjects::of(pid, &scratch.pin_path()).measure();
    assert!(held.programs > 0 && held.maps > 0, "no programs and maps of the agent are found");
    end(fleet, scratch, agent);
    let rest = used.as_secs_f64() / rest.as_secs_f64();
    Cost { namespaces: size, attached, processor, usage, held, rest }
}

fn start(fleet: &Fleet, scratch: &Scratch) -> Process {
    let mut command = fleet.hub.command("prlimit");
    // As systemd and containers start services: more has to be asked for.
    command.arg("--nofile=1024:").arg(agent_binary());
    command.args(["run", "--config", &fleet.configuration()]);
    Process::start("proxyip", scratch.directory(), &mut command)
}

fn wait_attached(scratch: &Scratch, agent: &mut Process, size: usize) {
    let socket = scratch.path("api.sock");
    let attached = until(PATIENCE, || {
        assert!(agent.is_alive(), "the agent has ended");
        (is_ready(&socket) && interfaces(scratch) == size).then_some(())
    });
    assert!(attached.is_some(), "not attached to {size} namespaces after {PATIENCE:?}");
}

fn interfaces(scratch: &Scratch) -> usize {
    let status = Api::connect(&scratch.path("api.sock")).get("/v1/status");
    let status: Status = serde_json::from_value(status).expect("the status");
    status.interfaces.len()
}

fn end(fleet: &Fleet, scratch: &Scratch, mut agent: Process) {
    agent.signal(Signal::SIGTERM);
    agent.wait();
    drop(agent);
    let mut command = fleet.hub.command(&agent_binary().display().to_string());
    command.args(["detach", "--drain", "0", "--pin-path"]).arg(scratch.pin_path());
    let done = attempt(&mut command);
    assert!(done.status.success(), "detach: {}", String::from_utf8_lossy(&done.stderr));
}
