//! Mistakes in the configuration, here or at the load balancer, that show in the traffic.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use proxyip_common::counter::per_listener;

use crate::config::Headerless;
use crate::desired::active::Active;
use crate::tables::listeners::ListenerMap;

/// How long the agent reports a mistake after it was last seen.
const MEMORY: Duration = Duration::from_mins(15);
/// This many connections without a header, and none with one, are no accident: a port scan makes one or two.
const ACCIDENTS: u64 = 3;

/// What was seen lately; a sentence each.
#[derive(Clone, Debug, Default)]
pub struct Findings(Arc<Mutex<BTreeMap<Mistake, Found>>>);

/// A mistake, and the listener that has it.
type Mistake = (String, Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Headerless,
    UntrustedHeader,
    OnlyUntrusted,
}

#[derive(Debug)]
struct Found {
    count: u64,
    last: Instant,
}

impl Findings {
    /// The sentences.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = found.iter().filter(|(_, found)| found.last.elapsed() < MEMORY);
        fresh.map(|((listener, kind), found)| kind.sentence(listener, found.count)).collect()
    }

    /// Notes that a mistake was seen this many times. Returns whether it is new.
    fn add(&self, mistake: Mistake, count: u64) -> bool {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = found.get(&mistake).is_some_and(|found| found.last.elapsed() < MEMORY);
        let before = if known { found[&mistake].count } else { 0 };
        found.insert(mistake, Found { count: before + count, last: Instant::now() });
        !known
    }

    /// Forgets the findings that have proved to be no mistakes.
    fn remove(&self, mistake: &Mistake) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(mistake);
    }
}

impl Kind {
    fn sentence(self, listener: &str, count: u64) -> String {
        match self {
            Self::Headerless => format!(
                "listener {listener:?}: {count} connections of trusted sources, none of which sent a PROXY \
                 header: switch it on at the load balancer (AWS target group attribute \
                 proxy_protocol_v2.enabled = true), or trust less"
            ),
            Self::OnlyUntrusted => format!(
                "listener {listener:?}: {count} connections refused since their sources are not trusted, and \
                 none that began with a PROXY header: either the load balancer passes the clients' addresses on \
                 (AWS target group attribute preserve_client_ip.enabled: set it to false), or `trusted` lacks the \
                 load balancer's addresses"
            ),
            Self::UntrustedHeader => format!(
                "listener {listener:?}: {count} PROXY headers from sources that are not trusted; the \
                 application gets them: either the load balancer passes the clients' addresses on (AWS target \
                 group attribute preserve_client_ip.enabled: set it to false), or `trusted` lacks the load \
                 balancer's addresses"
            ),
        }
    }
}

/// Watches the counters of the listeners.
pub(crate) struct Mistakes {
    map: ListenerMap,
    listeners: Vec<Watched>,
    findings: Findings,
}

struct Watched {
    place: u16,
    name: String,
    headerless: Headerless,
    before: Counts,
}

/// What a listener has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Good headers.
    headers: u64,
    headerless: u64,
    untrusted: u64,
    /// Refused SYNs of untrusted sources.
    refused: u64,
}

impl Mistakes {
    pub(crate) fn new(active: &Active, map: ListenerMap, findings: Findings) -> Result<Self> {
        let mut mistakes = Self { map, listeners: Vec::new(), findings };
        mistakes.follow(active)?;
        Ok(mistakes)
    }

    /// Watches the listeners that are in force now, and starts counting anew: what was wrong may be right.
    pub(crate) fn follow(&mut self, active: &Active) -> Result<()> {
        let watched = active.listeners().map(|(place, listener)| {
            let headerless = listener.headerless;
            let before = counts(&self.map, place, headerless)?;
            Ok(Watched { place, name: listener.name.clone(), headerless, before })
        });
        self.listeners = watched.collect::<Result<_>>()?;
        Ok(())
    }

    /// Logs each mistake when it is seen for the first time.
    pub(crate) fn check(&mut self) -> Result<()> {
        for listener in &mut self.listeners {
            let now = counts(&self.map, listener.place, listener.headerless)?;
            for (kind, count) in seen(&mut listener.before, now) {
                let mistake = (listener.name.clone(), kind);
                if count == 0 {
                    self.findings.remove(&mistake);
                } else if self.findings.add(mistake, count) {
                    tracing::warn!("{}", kind.sentence(&listener.name, count));
                }
            }
        }
        Ok(())
    }
}

fn counts(map: &ListenerMap, place: u16, lets_in: Headerless) -> Result<Counts> {
    let headerless = map.counter(place, per_listener::HEADERLESS)?;
    let served = map.headers(place)?;
    Ok(Counts {
        headers: headers(served, headerless, lets_in),
        headerless,
        untrusted: map.counter(place, per_listener::UNTRUSTED_HEADER)?,
        refused: map.counter(place, per_listener::UNTRUSTED)?,
    })
}

/// How many of the connections that were served had a header.
const fn headers(served: u64, headerless: u64, lets_in: Headerless) -> u64 {
    match lets_in {
        Headerless::Reset => served,
        Headerless::Local => served.saturating_sub(headerless),
    }
}

/// What is seen in the difference, which is then the new `before`; 0 of what has proved to be no mistake.
fn seen(before: &mut Counts, now: Counts) -> Vec<(Kind, u64)> {
    let mut seen = Vec::new();
    if now.headers > before.headers {
        *before = Counts { untrusted: before.untrusted, ..now };
        seen.extend([(Kind::Headerless, 0), (Kind::OnlyUntrusted, 0)]);
    }
    let refused = now.refused - before.refused;
    if refused >= ACCIDENTS {
        before.refused = now.refused;
        seen.push((Kind::OnlyUntrusted, refused));
    }
    let headerless = now.headerless - before.headerless;
    if headerless >= ACCIDENTS {
        before.headerless = now.headerless;
        seen.push((Kind::Headerless, headerless));
    }
    let untrusted = now.untrusted - before.untrusted;
    if untrusted > 0 {
        before.untrusted = now.untrusted;
        seen.push((Kind::UntrustedHeader, untrusted));
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_without_header_are_no_mistake_if_others_have_one() {
        let mut before = Counts::default();
        let none = [(Kind::Headerless, 0), (Kind::OnlyUntrusted, 0)];
        for (headers, headerless, untrusted, refused, expected) in [
            (0, 2, 0, 2, vec![]),
            (0, 3, 0, 3, vec![(Kind::OnlyUntrusted, 3), (Kind::Headerless, 3)]),
            (0, 4, 1, 5, vec![(Kind::UntrustedHeader, 1)]),
            (1, 9, 1, 9, none.to_vec()),
            (1, 11, 4, 11, vec![(Kind::UntrustedHeader, 3)]),
            (1, 12, 4, 11, vec![(Kind::Headerless, 3)]),
            (1, 12, 4, 12, vec![(Kind::OnlyUntrusted, 3)]),
        ] {
            let now = Counts { headers, headerless, untrusted, refused };
            assert_eq!(seen(&mut before, now), expected, "{now:?}");
        }
    }

    /// A load balancer whose PROXY protocol is off is found where connections without a header are served too.
    #[test]
    fn what_is_served_without_a_header_has_none() {
        assert_eq!(headers(7, 3, Headerless::Reset), 7);
        assert_eq!(headers(7, 3, Headerless::Local), 4);
        let before = headers(7, 7, Headerless::Local);
        assert_eq!(headers(9, 9, Headerless::Local), before);
    }

    #[test]
    fn a_mistake_is_new_once_and_counts_on() {
        let findings = Findings::default();
        let mistake = || ("web".to_owned(), Kind::UntrustedHeader);
        assert!(findings.add(mistake(), 2));
        assert!(!findings.add(mistake(), 3));
        let sentences = findings.sentences();
        assert!(sentences[0].starts_with("listener \"web\": 5 PROXY headers"), "{sentences:?}");
        assert!(sentences[0].contains("preserve_client_ip.enabled"));
        findings.remove(&mistake());
        assert!(findings.sentences().is_empty());
    }
}
