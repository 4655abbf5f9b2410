//! What a process uses of the machine.

use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::memory::resident_kib;

/// A process at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time since its start.
    pub processor: Duration,
    /// Resident memory, KiB.
    pub resident_kib: u64,
    /// Threads.
    pub threads: usize,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Usage {
    /// Measures.
    ///
    /// # Panics
    /// When the process does not exist.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).expect(what).count();
        Self {
            processor: processor(pid),
            resident_kib: resident_kib(pid),
            threads: count("task"),
            descriptors: count("fd"),
        }
    }
}

/// What all processors of the host have worked since its start, for programs, the kernel and interrupts.
///
/// # Panics
/// When the kernel does not say.
#[must_use]
pub fn time_worked() -> Duration {
    let text = fs::read_to_string("/proc/stat").expect("/proc/stat");
    duration(ticks_worked(&text).expect("times of all processors"))
}

/// `proc_stat(5)`: user, nice, system, idle, iowait, irq, softirq; what comes behind is not work, or is in user and nice.
fn ticks_worked(stat: &str) -> Option<u64> {
    let mut fields = stat.lines().find_map(|line| line.strip_prefix("cpu "))?.split_whitespace();
    let mut next = || fields.next()?.parse::<u64>().ok();
    let [user, nice, system, _idle, _iowait, irq, softirq] =
        [next()?, next()?, next()?, next()?, next()?, next()?, next()?];
    Some(user + nice + system + irq + softirq)
}

/// In the program and in the kernel.
fn processor(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    duration(ticks(&text).expect("times of a process"))
}

fn duration(ticks: u64) -> Duration {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().expect("ticks per second");
    Duration::from_secs(ticks) / u32::try_from(per_second).expect("a few")
}

/// `proc_pid_stat(5)`: the name, in parentheses, may contain anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a ) 1) S 1 7 7 0 -1 4194560 100 0 0 0 31 11 5 6 20 0 1 0 9 1 1";
        assert_eq!(ticks(stat), Some(42));
    }

    #[test]
    fn processors_do_not_work_when_idle_or_waiting() {
        let stat = "cpu  1 20 300 5000 60000 4 50 700 3 3\ncpu0 1 20 300 5000 60000 4 50 700 3 3\n";
        assert_eq!(ticks_worked(stat), Some(375));
        assert!(time_worked() > Duration::ZERO);
    }

    #[test]
    fn a_process_that_works_uses_time() {
        let pid = std::process::id();
        let before = Usage::of(pid);
        while processor(pid) < before.processor + Duration::from_millis(30) {}
        assert!(before.threads > 0 && before.descriptors > 2 && before.resident_kib > 100);
    }
}
