//! What the agent reports about floods: a few lines, and the number of lines that it leaves out.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::signal::Signal;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Flooder, Site, address, eventually, run, turn};

use crate::common::{exchange, open_for};
use crate::crowd::{Crowd, guard, settle};
use crate::diagnostics::{Said, assert_all_said};

/// More than the ring buffer holds.
const SYNS: u32 = 40_000;
const REFUSED: &str = "untrusted_reset";

/// Sends SYNs of strangers. The agent refuses and reports each; the link may lose a few.
fn flood(site: &Site) {
    Flooder::new(site).send((0..SYNS).map(|number| Crowd::Strangers.syn(number)));
}

/// There is no agent: the kernel programs wait for nobody, and count the events that they could not deliver.
#[test]
fn refusals_that_the_agent_missed_are_counted() {
    let _alone = turn::alone();
    let site = Site::without_captures();
    settle(&site);
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &guard().setting(r#"untrusted = "reset""#));
    agent.process().signal(Signal::SIGSTOP);
    flood(&site);
    let (stream, _) = open_for(&site, 1);
    agent.process().signal(Signal::SIGCONT);
    let told = assert_all_said(&mut agent).total();
    let (lost, refused) = (agent.counter("event_lost"), agent.numbers("drops")[REFUSED]);
    assert!(lost > 0 && refused > u64::from(SYNS / 2), "{lost} of {refused} lost");
    exchange(&stream);
    let lines = eventually("the flow log", || {
        let log = agent.flow_log();
        let lines = log.iter().filter(|line| line["event"] == "refuse").count() as u64;
        (lines + Said::read(&mut agent).lost_lines >= told).then_some(lines)
    });
    assert!(lines <= told, "{lines} lines, {told} refusals told of");
    site.finish(&mut agent, &[(REFUSED, refused)]);
}

/// The flow log's reader hangs: lines are lost, and the agent says how many. Nothing else is held up.
#[test]
fn a_flow_log_that_nobody_reads_holds_up_nothing() {
    let _alone = turn::alone();
    let site = Site::without_captures();
    settle(&site);
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut pipe = Pipe::new(&site);
    let guard = guard().setting(r#"untrusted = "reset""#).log_setting(&pipe.setting);
    let mut agent = Agent::start(&site, &guard);
    // The ring buffer may lose most of one flood.
    eventually("more lines than may wait", || {
        flood(&site);
        (Said::read(&mut agent).lost_lines > 0).then_some(())
    });
    let streams: Vec<_> = (0..10).map(|number| open_for(&site, number)).collect();
    assert_eq!(agent.flows().len(), streams.len());
    let said = assert_all_said(&mut agent);
    drop(streams);
    agent.wait_counter("closed", 10);

    // The awaited events have been read by now.
    let lost_events = agent.counter("event_lost");
    let events = said.total() + agent.counter("established") + agent.counter("closed");
    let lines = eventually("the lines of the flow log", || {
        pipe.read();
        let lines: u64 = pipe.lines().values().sum();
        let lost = Said::read(&mut agent).lost_lines;
        (lines + lost + lost_events >= events).then_some(lines)
    });
    let lost = Said::read(&mut agent).lost_lines;
    eprintln!("{events} events: {lines} lines of the flow log, {lost} lost");
    assert!(lines + lost <= events + lost_events, "{lines} lines, {lost} lost, {events} events");
    let refused = agent.numbers("drops")[REFUSED];
    site.finish(&mut agent, &[(REFUSED, refused)]);
}

/// A named pipe that the flow log is written to.
struct Pipe {
    file: File,
    text: Vec<u8>,
    setting: String,
}

impl Pipe {
    fn new(site: &Site) -> Self {
        let path = site.scratch.path("flows");
        let path = path.to_str().expect("text");
        run("mkfifo", &[path]);
        // Both ends: a pipe without a reader could not be opened for writing.
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
        let file = file.expect("a named pipe");
        Self { file, text: Vec::new(), setting: format!("path = {path:?}") }
    }

    /// Reads what there is.
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.file.read(&mut buffer) {
                Ok(length) => self.text.extend(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("a named pipe: {error}"),
            }
        }
    }

    /// Whole lines read so far, by event.
    fn lines(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for line in self.text.split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\n") else { continue };
            let line: serde_json::Value = serde_json::from_slice(line).expect("a line of JSON");
            let event = line["event"].as_str().expect("an event").to_owned();
            *counts.entry(event).or_default() += 1;
        }
        counts
    }
}
