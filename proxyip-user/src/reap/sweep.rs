//! Looks through a table of connections, a part at a time, for those that have no socket.

use std::collections::HashMap;

use anyhow::{Context, Result};
use proxyip_common::flow::FlowKey;

use super::living::{Left, Sockets};
use crate::bpf::buckets::{Buckets, Cursor};
use crate::bpf::pod::Raw;
use crate::host::served::Member;

/// How many connections are looked at each time, at first.
const FEW: usize = 2048;
/// How many at most.
const MANY: usize = 65_536;

/// How far one table has been looked through.
#[derive(Debug)]
pub(super) struct Sweep {
    from: Cursor,
    /// How many entries are read next.
    at_a_time: usize,
    /// Connections that had no socket at the last look, each with the time by which it is known. A look may miss a
    /// socket, while others come and go: two looks do not miss the same one.
    suspects: HashMap<FlowKey, u64>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { from: 0, at_a_time: FEW, suspects: HashMap::new() }
    }
}

impl Sweep {
    /// The suspects, and the entries that come next. `since` tells an established connection from a later one of the
    /// same 4-tuple, and gives nothing for one that is not to be looked at.
    pub(super) fn candidates<V: Copy>(
        &mut self,
        table: &Buckets<Raw<FlowKey>, Raw<V>>,
        since: impl Fn(&V) -> Option<u64>,
    ) -> Result<HashMap<FlowKey, u64>>
    where
        Raw<V>: aya::Pod,
    {
        let chunk = table.read(self.from, self.at_a_time).context("the table cannot be read")?;
        self.from = chunk.next.unwrap_or(0);
        let entries = chunk.keys.into_iter().zip(chunk.values);
        let next = entries.filter_map(|(Raw(key), Raw(value))| Some((key, since(&value)?)));
        let mut candidates = self.suspects.clone();
        candidates.extend(next);
        Ok(candidates)
    }

    /// The candidates that have ended.
    pub(super) fn ended(
        &mut self,
        served: &[Member],
        candidates: &HashMap<FlowKey, u64>,
    ) -> Result<Vec<(FlowKey, u64, Left)>> {
        let mut missing = HashMap::new();
        for Member { entrance, .. } in served {
            let cookie = entrance.cookie();
            let here: Vec<_> =
                candidates.keys().filter(|key| key.namespace == cookie).copied().collect();
            if here.is_empty() {
                continue;
            }
            let found = entrance.run_if_there(|| Ok(Sockets::open()?.missing(&here)?));
            let found = found.context("the sockets of connections cannot be read")?;
            missing.extend(found.into_iter().flatten());
        }
        Ok(self.judge(candidates, &missing))
    }

    fn judge(
        &mut self,
        candidates: &HashMap<FlowKey, u64>,
        missing: &HashMap<FlowKey, Left>,
    ) -> Vec<(FlowKey, u64, Left)> {
        // Where many are missing, there are more.
        let most = missing.len() * 2 > candidates.len();
        self.at_a_time = if most { (self.at_a_time * 4).min(MANY) } else { FEW };
        let before = std::mem::take(&mut self.suspects);
        let mut ended = Vec::new();
        for (key, left) in missing {
            let Some(since) = candidates.get(key) else { continue };
            if before.get(key) == Some(since) {
                ended.push((*key, *since, *left));
            } else {
                self.suspects.insert(*key, *since);
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn key(port: u16) -> FlowKey {
        let peer = SocketAddr::from(([10, 0, 0, 2], port));
        let local: SocketAddr = "10.0.1.2:443".parse().unwrap();
        FlowKey::new(1, peer.into(), local.into())
    }

    #[test]
    fn a_connection_has_ended_if_two_looks_find_no_socket() {
        let mut sweep = Sweep::default();
        let missing =
            |ports: &[u16]| ports.iter().map(|port| (key(*port), Left::Nothing)).collect();
        let with = |candidates: &[(u16, u64)]| {
            candidates.iter().map(|(port, since)| (key(*port), *since)).collect()
        };
        for (candidates, missing, expected) in [
            (with(&[(1, 10), (2, 10), (3, 10)]), missing(&[1, 2]), vec![]),
            // The second has a socket now, and the first is a new connection.
            (with(&[(1, 20), (2, 10)]), missing(&[1]), vec![]),
            (with(&[(1, 20)]), missing(&[1]), vec![(key(1), 20, Left::Nothing)]),
            (with(&[(1, 20)]), missing(&[1]), vec![]),
        ] {
            assert_eq!(sweep.judge(&candidates, &missing), expected);
        }
    }

    #[test]
    fn more_is_looked_at_while_most_have_ended() {
        let mut sweep = Sweep::default();
        let all = HashMap::from([(key(1), 1), (key(2), 1)]);
        let both = HashMap::from([(key(1), Left::Nothing), (key(2), Left::TimeWait)]);
        for expected in [FEW * 4, FEW * 16, MANY, MANY] {
            sweep.judge(&all, &both);
            assert_eq!(sweep.at_a_time, expected);
        }
        sweep.judge(&all, &HashMap::new());
        assert_eq!(sweep.at_a_time, FEW);
    }
}
