//! Makes the table of routes say what a namespace's routes say. The table is bounded, and all namespaces share it.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::host::routes::{Destination, Routes};
use crate::tables::routes::RoutesOf;

/// The MSS of a route that an agent before this one wrote: no route's own.
const UNKNOWN: u16 = u16::MAX;

/// How long to wait for more changes of a routing table before it is read.
const SETTLE: Duration = Duration::from_millis(50);
/// The shortest time from one read to the next.
const BETWEEN: Duration = Duration::from_secs(1);
/// The same as a multiple of how long the last read took: reading takes a tenth of a processor at most.
const SHARE: u32 = 10;

/// A table of routes.
pub(crate) trait RouteTable {
    /// Returns false if the table is full.
    fn insert(&mut self, destination: &Destination, mss: u16) -> Result<bool>;
    /// It is no error if there is no entry.
    fn remove(&mut self, destination: &Destination) -> Result<()>;
}

impl RouteTable for RoutesOf<'_> {
    fn insert(&mut self, destination: &Destination, mss: u16) -> Result<bool> {
        self.set(destination.address(), destination.bits(), mss)
    }

    fn remove(&mut self, destination: &Destination) -> Result<()> {
        self.unset(destination.address(), destination.bits())
    }
}

/// What an agent before this one wrote. The values differ from those of any route.
pub(crate) fn left_by_another(table: &RoutesOf) -> Routes {
    let routes = table.destinations().into_iter();
    routes.map(|(address, bits)| (Destination::from_parts(address, bits), UNKNOWN)).collect()
}

/// Makes `table` say what `wanted` says. `there` is what it says, before and after, even if this fails. Returns how
/// many routes find no room.
pub(crate) fn write(
    table: &mut impl RouteTable,
    there: &mut Routes,
    wanted: &Routes,
) -> Result<usize> {
    let left = insert(table, there, wanted)?;
    let stale: Vec<_> = there.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
    for destination in &stale {
        table.remove(destination)?;
        there.remove(destination);
    }
    // What was removed may have made room.
    if left > 0 && !stale.is_empty() { insert(table, there, wanted) } else { Ok(left) }
}

/// Inserts what is missing. An MSS that is too small costs a little; one that is too large loses packets. So routes
/// with an MSS go before exceptions, and large networks before small ones.
fn insert(table: &mut impl RouteTable, there: &mut Routes, wanted: &Routes) -> Result<usize> {
    let missing = wanted.iter().filter(|(key, mss)| there.get(key) != Some(mss));
    let mut missing: Vec<_> = missing.map(|(key, mss)| (*key, *mss)).collect();
    missing.sort_by_key(|(destination, mss)| (*mss == 0, destination.bits()));
    let mut left = 0;
    for (destination, mss) in missing {
        if table.insert(&destination, mss)? {
            there.insert(destination, mss);
        } else {
            left += 1;
        }
    }
    Ok(left)
}

/// When a routing table that changes is read.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When it is read next; `None` until it changes.
    due: Option<Instant>,
    /// Before this it is not read again.
    rest: Instant,
}

impl Pace {
    /// It is due at once.
    pub(crate) fn new(now: Instant) -> Self {
        Self { due: Some(now), rest: now }
    }

    /// Notes a change.
    pub(crate) fn changed(&mut self, now: Instant) {
        self.due.get_or_insert(self.rest.max(now + SETTLE));
    }

    /// When it is to be read; `None` if nothing has changed.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Notes that it has been read.
    pub(crate) fn read(&mut self, begin: Instant, took: Duration) {
        self.due = None;
        self.rest = begin + BETWEEN.max(took * SHARE);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use anyhow::bail;
    use ipnet::IpNet;

    use super::*;

    /// With room for this many entries.
    struct Small(usize, BTreeMap<Destination, u16>);

    impl RouteTable for Small {
        fn insert(&mut self, destination: &Destination, mss: u16) -> Result<bool> {
            if self.1.len() >= self.0 && !self.1.contains_key(destination) {
                return Ok(false);
            }
            self.1.insert(*destination, mss);
            Ok(true)
        }

        fn remove(&mut self, destination: &Destination) -> Result<()> {
            self.1.remove(destination);
            Ok(())
        }
    }

    fn routes(routes: &[(&str, u16)]) -> Routes {
        let destination = |text: &str| {
            let network: IpNet = text.parse().unwrap();
            Destination::new(network.addr(), network.prefix_len())
        };
        routes.iter().map(|(text, mss)| (destination(text), *mss)).collect()
    }

    #[test]
    fn the_table_says_what_is_wanted() {
        let (mut table, mut there) = (Small(3, BTreeMap::new()), Routes::new());
        for wanted in [
            routes(&[("10.0.0.0/8", 1000), ("10.1.0.0/16", 0)]),
            routes(&[("10.0.0.0/8", 900), ("fd00::/8", 1300)]),
            routes(&[("11.0.0.0/8", 1), ("12.0.0.0/8", 2), ("13.0.0.0/8", 3)]),
            Routes::new(),
        ] {
            assert_eq!(write(&mut table, &mut there, &wanted).unwrap(), 0);
            assert_eq!((&table.1, &there), (&wanted, &wanted));
        }
    }

    #[test]
    fn a_full_table_has_the_routes_whose_lack_would_lose_packets() {
        let (mut table, mut there) = (Small(2, BTreeMap::new()), Routes::new());
        let wanted = routes(&[
            ("10.0.0.0/8", 1000),
            ("10.1.0.0/16", 0),
            ("10.2.0.0/16", 900),
            ("10.2.3.0/24", 800),
        ]);
        assert_eq!(write(&mut table, &mut there, &wanted).unwrap(), 2);
        assert_eq!(table.1, routes(&[("10.0.0.0/8", 1000), ("10.2.0.0/16", 900)]));
        assert_eq!(table.1, there);
        // Again, nothing changes; with less to say, all of it has room.
        assert_eq!(write(&mut table, &mut there, &wanted).unwrap(), 2);
        let fewer = routes(&[("10.2.3.0/24", 800)]);
        assert_eq!(write(&mut table, &mut there, &fewer).unwrap(), 0);
        assert_eq!(table.1, fewer);
    }

    #[test]
    fn after_a_failure_the_rest_is_written() {
        struct Failing(Small, usize);
        impl RouteTable for Failing {
            fn insert(&mut self, destination: &Destination, mss: u16) -> Result<bool> {
                self.1 -= 1;
                if self.1 == 0 {
                    bail!("no memory");
                }
                self.0.insert(destination, mss)
            }

            fn remove(&mut self, destination: &Destination) -> Result<()> {
                self.0.remove(destination)
            }
        }
        let wanted = routes(&[("10.0.0.0/8", 1000), ("11.0.0.0/8", 900), ("12.0.0.0/8", 800)]);
        let (mut table, mut there) = (Failing(Small(9, BTreeMap::new()), 2), Routes::new());
        write(&mut table, &mut there, &wanted).unwrap_err();
        assert_eq!((&table.0.1, table.0.1.len()), (&there, 1));
        write(&mut table.0, &mut there, &wanted).unwrap();
        assert_eq!(table.0.1, wanted);
    }

    #[test]
    fn reads_are_a_second_apart_and_a_tenth_of_the_time() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut pace = Pace::new(at(0));
        assert!(pace.is_due(at(0)));
        pace.read(at(0), Duration::from_millis(3));
        assert_eq!(pace.due(), None);
        pace.changed(at(60));
        pace.changed(at(90));
        assert_eq!(pace.due(), Some(at(1000)));
        assert!(!pace.is_due(at(999)));
        pace.read(at(1000), Duration::from_secs(2));
        pace.changed(at(4000));
        assert_eq!(pace.due(), Some(at(21_000)));
        pace.read(at(21_000), Duration::from_millis(3));
        pace.changed(at(30_000));
        pace.changed(at(30_040));
        assert_eq!(pace.due(), Some(at(30_050)), "later changes do not put it off");
    }
}
