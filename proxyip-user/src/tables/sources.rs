//! Sources that are not trusted, and perhaps should be.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray};
use proxyip_common::address::Endpoint;
use proxyip_common::settings::LastSource;

use super::maps::open;
use super::owners::Readable;
use crate::bpf::pod::Raw;

/// Reads before those that are not the same twice are given up.
const TRIES: usize = 3;

/// The last source of each listener.
pub(crate) struct Sources(Readable<PerCpuArray<MapData, Raw<LastSource>>>);

/// A source, and when it was seen, in nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) at_ns: u64,
    pub(crate) address: IpAddr,
}

impl Sources {
    pub(crate) fn open(pin_path: &Path) -> Result<Self> {
        Ok(Self(open(pin_path, "UNTRUSTED_SOURCES")?))
    }

    /// The sources of a listener that were seen after this time, the oldest first; at most one for each CPU.
    pub(crate) fn since(&self, listener: u16, at_ns: u64) -> Result<Vec<Seen>> {
        let mut last = self.read(listener)?;
        for _ in 1..TRIES {
            // A program may be writing an entry just now.
            let again = self.read(listener)?;
            if again == last {
                break;
            }
            last = again;
        }
        Ok(seen_since(&last, at_ns))
    }

    fn read(&self, listener: u16) -> Result<Vec<LastSource>> {
        let of_cpus = self.0.get(&listener.into(), 0);
        let of_cpus = of_cpus.context("the sources that are not trusted cannot be read")?;
        Ok(of_cpus.iter().map(|Raw(last)| *last).collect())
    }
}

fn seen_since(of_cpus: &[LastSource], at_ns: u64) -> Vec<Seen> {
    let newer = of_cpus.iter().filter(|last| last.seen_ns > at_ns);
    let seen = newer.map(|last| {
        let address = Endpoint::from_words(last.address, 0).to_socket_addr().ip();
        Seen { at_ns: last.seen_ns, address }
    });
    let mut seen: Vec<_> = seen.collect();
    seen.sort_by_key(|seen| seen.at_ns);
    seen
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn what_is_new_comes_in_order() {
        let last = |seen_ns, address: &str| {
            let address: IpAddr = address.parse().unwrap();
            let address = Endpoint::from(SocketAddr::new(address, 0)).words();
            LastSource { seen_ns, address }
        };
        let of_cpus = [last(9, "198.51.100.7"), last(0, "::"), last(7, "fd00::2"), last(5, "::1")];
        let seen: Vec<_> =
            seen_since(&of_cpus, 5).iter().map(|one| one.address.to_string()).collect();
        assert_eq!(seen, ["fd00::2", "198.51.100.7"]);
    }
}
