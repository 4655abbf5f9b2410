//! What an agent holds.

use std::fmt;
use std::fs;
use std::path::Path;

use proxyip_tests::{Agent, Memory, Site, eventually};

/// How much more memory is no leak, KiB: an allocator keeps pages, and load comes in bursts.
const SLACK: u64 = 1024;

/// The agent, measured while nothing but the connections that stay is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    descriptors: usize,
    pins: usize,
    memory: Memory,
}

impl Size {
    /// Waits until there are so many connections.
    pub(crate) fn of(site: &Site, agent: &mut Agent, connections: usize) -> Self {
        eventually(&format!("{connections} connections among the flows"), || {
            (agent.flows().len() == connections).then_some(())
        });
        let memory = Memory::measure(site, agent);
        assert_eq!(memory.half_open, 0, "nobody opens a connection");
        Self {
            descriptors: descriptors(agent.process().pid()),
            pins: files(&site.scratch.pin_path()),
            memory,
        }
    }

    /// # Panics
    /// When it is larger.
    pub(crate) fn assert_no_larger_than(&self, other: &Self, when: &str) {
        let pairs = [
            ("descriptors", self.descriptors, other.descriptors),
            ("pinned objects", self.pins, other.pins),
            ("KiB of maps", kib(self.memory.maps), kib(other.memory.maps)),
            ("KiB resident", kib(self.memory.agent), kib(other.memory.agent + SLACK)),
        ];
        for (what, now, most) in pairs {
            assert!(now <= most, "{now} {what} {when}; at most {most} were expected");
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Self { descriptors, pins, memory } = self;
        write!(
            formatter,
            "{descriptors} descriptors, {pins} pinned objects, {} KiB resident, {} KiB of maps",
            memory.agent, memory.maps
        )
    }
}

fn kib(number: u64) -> usize {
    usize::try_from(number).expect("64 bits")
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the agent's descriptors").count()
}

/// The files below a directory.
fn files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).expect("a directory of pins");
    entries
        .map(|entry| entry.expect("a directory entry").path())
        .map(|path| if path.is_dir() { files(&path) } else { 1 })
        .sum()
}
