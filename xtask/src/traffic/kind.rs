//! What is measured, and how its numbers are read.

use std::fmt;

use anyhow::{Result, bail};

use super::record::Record;

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// New connections.
    Connections,
    /// Requests on connections that stay.
    Requests,
    /// Bytes of one connection.
    Bulk,
    /// SYNs and forged acknowledgments.
    Flood,
    /// New connections with long lists and many listeners.
    Lists,
    /// New connections beside few and many others.
    Flows,
}

/// Large lists and tables may make a connection this many times as dear.
const LIMIT: f64 = 1.15;

/// How names of rows end that measure the same as the row before.
const AGAIN: &str = ", again";

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Connections, Self::Requests, Self::Bulk, Self::Flood, Self::Lists, Self::Flows];

    /// The name of the command, of the record and of the block in the documents.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Requests => "requests",
            Self::Bulk => "bulk",
            Self::Flood => "flood",
            Self::Lists => "lists",
            Self::Flows => "flows",
        }
    }

    /// The record in the repository.
    pub(super) fn place(self) -> String {
        format!("docs/benchmarks/{self}.json")
    }

    /// What a number counts.
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Connections => "connections/s",
            Self::Requests => "requests/s",
            Self::Bulk => "Gbit/s",
            Self::Flood => "ns/packet",
            Self::Lists | Self::Flows => "µs/connection",
        }
    }

    /// What ratios are ratios to.
    pub(super) const fn reference(self) -> &'static str {
        match self {
            Self::Connections | Self::Requests | Self::Bulk => "direct",
            Self::Flood => "kernel",
            Self::Lists | Self::Flows => "first",
        }
    }

    /// What a plot shows.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Connections => "New connections per second, × direct (longer is better)",
            Self::Requests => "Requests per second, × direct (longer is better)",
            Self::Bulk => "Bytes per second of one connection, × direct (longer is better)",
            Self::Flood => "Time for a packet of a flood, × kernel (shorter is better)",
            Self::Lists => "Time for a connection, × the first (1.00 is best)",
            Self::Flows => "Time for a connection, × 1,000 flows (1.00 is best)",
        }
    }

    /// The ratio that no contender may exceed.
    const fn limit(self) -> Option<f64> {
        match self {
            Self::Connections | Self::Requests | Self::Bulk | Self::Flood => None,
            Self::Lists | Self::Flows => Some(LIMIT),
        }
    }

    /// An error if a median ratio is over the limit, or if the same thing measured twice differs by as much.
    pub(super) fn judge(self, record: &Record) -> Result<()> {
        let Some(limit) = self.limit() else { return Ok(()) };
        let is_over = |ratio: f64| ratio > limit;
        let same = record.contenders().filter(|(_, contender)| contender.name.ends_with(AGAIN));
        let mut ratios = same.map(|(_, contender)| contender.median_ratio());
        if ratios.any(|ratio| is_over(ratio) || is_over(1.0 / ratio)) {
            bail!("{self}: the host is too busy to judge: measure again");
        }
        let over = record.contenders().filter(|(_, contender)| is_over(contender.median_ratio()));
        let over: Vec<_> = over
            .map(|(group, contender)| {
                let ratio = contender.median_ratio();
                format!(
                    "{group}: {} costs {ratio:.2} times as much; at most {limit}",
                    contender.name
                )
            })
            .collect();
        if !over.is_empty() {
            bail!("{}", over.join("\n"));
        }
        Ok(())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_tables_have_a_limit() {
        let with = |many: &str| {
            let lines = format!("sample\tflows\tfew\t100\t0\nsample\tflows\tmany\t{many}\t0\n");
            Record::of(&lines).unwrap()
        };
        Kind::Flows.judge(&with("114")).unwrap();
        let error = Kind::Flows.judge(&with("120")).unwrap_err().to_string();
        assert_eq!(error, "flows: many costs 1.20 times as much; at most 1.15");
        Kind::Flood.judge(&with("120")).unwrap();
    }

    #[test]
    fn a_host_that_varies_as_much_is_no_judge() {
        for again in ["120", "80"] {
            let lines =
                format!("sample\tflows\tfew\t100\t0\nsample\tflows\tfew, again\t{again}\t0\n");
            let error = Kind::Flows.judge(&Record::of(&lines).unwrap()).unwrap_err().to_string();
            assert_eq!(error, "flows: the host is too busy to judge: measure again");
        }
    }
}
