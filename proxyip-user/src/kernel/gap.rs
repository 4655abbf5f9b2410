//! The gap between connections handed over and connections established: what the stack refused.

use std::fs;

use anyhow::Result;
use proxyip_common::counter::Counter;

use super::maps::CounterMap;

/// Watches the gap.
pub(super) struct Gap {
    counters: CounterMap,
    /// The gap at the last look; connections in flight are in it.
    last: u64,
    /// What has been said already.
    said: u64,
    overflows: u64,
}

impl Gap {
    pub(super) fn new(counters: CounterMap) -> Self {
        let now = read(&counters).unwrap_or(0);
        Self { counters, last: now, said: now, overflows: overflows() }
    }

    /// Says so if connections handed over before the last look have still not been established.
    pub(super) fn check(&mut self) -> Result<()> {
        let now = read(&self.counters)?;
        let lasting = now.min(self.last);
        self.last = now;
        if lasting > self.said {
            let missing = lasting - self.said;
            let overflows = overflows();
            let cause = if overflows > self.overflows {
                "the application's accept queue is full (ListenOverflows in `nstat -az`): it accepts too \
                 slowly, or its backlog or net.core.somaxconn is too small"
            } else {
                "a firewall rule probably drops them: look for rules that drop new connections without SYN \
                 or in conntrack state INVALID, or that queue them to user space (NFQUEUE)"
            };
            tracing::warn!(missing, "connections were handed over but not established: {cause}");
            self.overflows = overflows;
        }
        self.said = lasting;
        Ok(())
    }
}

fn read(counters: &CounterMap) -> Result<u64> {
    // In this order: whatever is established in between makes the gap smaller, never larger.
    let handed_over = counters.counter(Counter::HandedOver)?;
    Ok(handed_over.saturating_sub(counters.counter(Counter::Established)?))
}

/// `ListenOverflows` of the agent's own namespace; 0 if it cannot be read.
fn overflows() -> u64 {
    let text = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    listen_overflows(&text).unwrap_or(0)
}

/// `/proc/net/netstat` has a line of names, then a line of values.
fn listen_overflows(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let index = names.split(' ').position(|name| name == "ListenOverflows")?;
    values.split(' ').nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netstat_is_read_by_name() {
        let text = "TcpExt: A ListenOverflows B\nTcpExt: 1 23 4\nIpExt: C\nIpExt: 9\n";
        assert_eq!(listen_overflows(text), Some(23));
        assert_eq!(listen_overflows(""), None);
    }
}
