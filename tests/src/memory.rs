//! How much memory there is in use, in the agent and in the kernel.

use std::fs;

use crate::agent::Agent;
use crate::maps::memory_of_maps;
use crate::site::Site;

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Of the agent, resident, KiB.
    pub agent: u64,
    /// Of the agent's maps, KiB.
    pub maps: u64,
    /// TCP sockets of the server, in any state.
    pub sockets: usize,
    /// Of these, how many are half open.
    pub half_open: usize,
    /// The machine's slab caches, KiB; they serve whoever else is busy too.
    pub slab: u64,
    /// The machine's memory by CPU, KiB; other busy programs use it too.
    pub per_cpu: u64,
}

impl Memory {
    /// Measures.
    ///
    /// # Panics
    /// When something cannot be read.
    #[must_use]
    pub fn measure(site: &Site, agent: &mut Agent) -> Self {
        let sockets = site.net.server.run("ss -Htan");
        Self {
            agent: resident_kib(agent.process().pid()),
            maps: memory_of_maps(site) / 1024,
            sockets: sockets.lines().count(),
            half_open: sockets.lines().filter(|line| line.starts_with("SYN-RECV")).count(),
            slab: field("/proc/meminfo", "Slab:"),
            per_cpu: field("/proc/meminfo", "Percpu:"),
        }
    }

    /// Prints measurements as the columns of a table.
    pub fn print(columns: &[(&str, Self)]) {
        let row = |name: &str, cells: Vec<String>| {
            let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:>10}")).collect();
            eprintln!("{name:<22}{}", cells.join(""));
        };
        let numbers = |number: fn(&Self) -> u64| {
            columns.iter().map(|(_, memory)| number(memory).to_string()).collect()
        };
        let counts = |count: fn(&Self) -> usize| {
            columns.iter().map(|(_, memory)| count(memory).to_string()).collect()
        };
        row("", columns.iter().map(|(name, _)| (*name).to_owned()).collect());
        row("agent, resident KiB", numbers(|memory| memory.agent));
        row("maps, KiB", numbers(|memory| memory.maps));
        row("server's sockets", counts(|memory| memory.sockets));
        row("  half open", counts(|memory| memory.half_open));
        row("machine's slabs, KiB", numbers(|memory| memory.slab));
        row("machine's per CPU, KiB", numbers(|memory| memory.per_cpu));
    }
}

/// KiB of memory that a process has resident.
///
/// # Panics
/// When the process does not exist.
pub fn resident_kib(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// KiB of memory that a process has resident and that is not of a file: its heap, and its stacks.
///
/// # Panics
/// When the process does not exist.
pub fn anonymous_kib(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/status"), "RssAnon:")
}

/// A number of KiB in a file of names and values.
fn field(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {file}"))
}
