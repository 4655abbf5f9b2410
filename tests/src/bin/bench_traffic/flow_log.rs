//! Connections while an agent writes the flow log: each must have its two lines. What the agent works for them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use proxyip_tests::{Agent, Guard, Site, until};

use crate::generator::Outcome;

/// How long the last lines may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a line begins to say which event it is.
const EVENTS: [&str; 2] = ["\"event\":\"accept\"", "\"event\":\"close\""];

/// What `work` does, and the processor time of the agent until it has written the last line. Its errors are also events and lines that were lost, and connections without their lines.
/// `work` opens `others` connections that it does not count.
pub(crate) fn during(
    site: &Site,
    guard: Guard,
    others: u64,
    work: impl FnOnce() -> Outcome,
) -> (Outcome, Duration) {
    let log = site.scratch.path("flows.log");
    let mut agent = Agent::start(
        site,
        &guard.json_log().log_setting(&format!("path = {:?}", log.display().to_string())),
    );
    let pid = agent.process().pid();
    let before = worked(pid);
    let outcome = work();
    let connections = outcome.answers_in_all + others;
    let is_whole = || (lines(&log) == [connections; 2]).then_some(());
    // What is not there then counts.
    let _ = until(PATIENCE, is_whole);
    let worked = worked(pid).saturating_sub(before);
    let errors = lines(&log).map(|lines| lines.abs_diff(connections)).iter().sum::<u64>();
    let lost = agent.counter("event_lost") + lost_lines(&agent);
    drop(agent);
    std::fs::remove_file(&log).expect("the flow log");
    (Outcome { errors: outcome.errors + errors.max(lost), ..outcome }, worked)
}

/// The processor time of all threads of a process.
fn worked(pid: u32) -> Duration {
    let pid = Pid::from_raw(pid.try_into().expect("the number of a process"));
    let clock = clock_getcpuclockid(pid).expect("the clock of a process");
    clock_gettime(clock).expect("its time").into()
}

/// How many there are of each event.
fn lines(log: &Path) -> [u64; 2] {
    let mut counts = [0; 2];
    for line in BufReader::new(File::open(log).expect("the flow log")).lines() {
        let line = line.expect("a line of text");
        for (count, event) in counts.iter_mut().zip(EVENTS) {
            *count += u64::from(line.contains(event));
        }
    }
    counts
}

fn lost_lines(agent: &Agent<'_>) -> u64 {
    let metrics = agent.api().reply("GET", "/metrics").body;
    let metrics = String::from_utf8(metrics).expect("metrics are text");
    let mut lines = metrics.lines();
    let lost = lines.find_map(|line| line.strip_prefix("proxyip_flow_log_lost_lines_total "));
    lost.and_then(|number| number.parse().ok()).expect("a number of lost lines")
}
