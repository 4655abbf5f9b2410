//! Mistakes in the configuration, here or at the load balancer, that show in the traffic.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use proxyip_api::finding::{Finding, FindingKind};
use proxyip_common::counter::per_listener;

use crate::config::Headerless;
use crate::desired::active::Active;
use crate::tables::listeners::ListenerMap;
use crate::tables::sources::{Seen, Sources};

/// How long the agent reports a mistake after it was last seen.
const MEMORY: Duration = Duration::from_mins(15);
/// This many connections without a header are no accident: a port scan makes one or two.
const ACCIDENTS: u64 = 3;

/// What was seen lately.
#[derive(Clone, Debug, Default)]
pub struct Findings(Arc<Mutex<BTreeMap<Mistake, Found>>>);

/// A mistake, and the listener that has it.
type Mistake = (String, Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Headerless,
    SomeHeaderless,
    UntrustedHeader,
    OnlyUntrusted,
}

#[derive(Debug)]
struct Found {
    count: u64,
    last: Instant,
    /// The sources that it came from; the last one is the newest.
    sources: Vec<IpAddr>,
}

impl Findings {
    /// The findings.
    #[must_use]
    pub fn all(&self) -> Vec<Finding> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = found.iter().filter(|(_, found)| found.last.elapsed() < MEMORY);
        let certain = fresh.filter(|((_, kind), found)| found.count >= kind.least());
        certain
            .map(|((listener, kind), found)| {
                Finding::new(kind.finding(), kind.sentence(listener, found))
            })
            .collect()
    }

    /// Notes that a mistake was seen this many times, from these sources. Returns its sentence if it is new.
    fn add(&self, mistake: Mistake, count: u64, sources: &[IpAddr]) -> Option<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(&mistake).filter(|found| found.last.elapsed() < MEMORY);
        let before = before.map_or(0, |found| found.count);
        let found =
            Found { count: before + count, last: Instant::now(), sources: sources.to_vec() };
        let least = mistake.1.least();
        let is_new = before < least && found.count >= least;
        let sentence = is_new.then(|| mistake.1.sentence(&mistake.0, &found));
        all.insert(mistake, found);
        sentence
    }

    /// Forgets the findings that have proved to be no mistakes.
    fn remove(&self, mistake: &Mistake) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(mistake);
    }
}

impl Kind {
    /// How often it must be seen before it is said.
    const fn least(self) -> u64 {
        match self {
            Self::SomeHeaderless => ACCIDENTS,
            Self::Headerless | Self::UntrustedHeader | Self::OnlyUntrusted => 1,
        }
    }

    const fn finding(self) -> FindingKind {
        match self {
            Self::Headerless => FindingKind::HeadersMissing,
            Self::SomeHeaderless => FindingKind::SomeHeadersMissing,
            Self::UntrustedHeader => FindingKind::UntrustedHeaders,
            Self::OnlyUntrusted => FindingKind::UntrustedOnly,
        }
    }

    fn sentence(self, listener: &str, Found { count, sources, .. }: &Found) -> String {
        let such_as = such_as(sources);
        match self {
            Self::Headerless => format!(
                "listener {listener:?}: {count} connections of trusted sources, none of which sent a PROXY \
                 header: switch it on at the load balancer (AWS target group attribute \
                 proxy_protocol_v2.enabled = true), or trust less"
            ),
            Self::SomeHeaderless => format!(
                "listener {listener:?}: {count} connections of trusted sources were reset because they sent no PROXY \
                 header, while others sent one: probably health checks or probes from an address that also sends \
                 traffic. Let them send a header (HAProxy: check-send-proxy), or write `headerless = \"local\"`"
            ),
            Self::OnlyUntrusted => format!(
                "listener {listener:?}: {count} connections refused since their sources are not \
                 trusted{such_as}, and none that began with a PROXY header: {ADD_OR_SHOW}"
            ),
            Self::UntrustedHeader => format!(
                "listener {listener:?}: {count} PROXY headers from sources that are not trusted{such_as}; the \
                 application gets them: {ADD_OR_SHOW}"
            ),
        }
    }
}

/// What to do with a source that is not trusted.
const ADD_OR_SHOW: &str = "if it is the load balancer's address, add it to `trusted`; if it is a client's, the load \
     balancer passes the clients' addresses on (AWS target group attribute preserve_client_ip.enabled: set it to false)";

/// Names the sources, the newest first, in the middle of a sentence.
fn such_as(sources: &[IpAddr]) -> String {
    let names: Vec<_> = sources.iter().rev().map(ToString::to_string).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

/// Watches the counters of the listeners.
pub(crate) struct Mistakes {
    map: ListenerMap,
    sources: Sources,
    listeners: Vec<Watched>,
    findings: Findings,
}

struct Watched {
    place: u16,
    name: String,
    headerless: Headerless,
    before: Counts,
    strangers: Strangers,
}

/// The sources of a listener that are not trusted and that the agent has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Strangers {
    /// When the newest was seen, in nanoseconds of `CLOCK_MONOTONIC`.
    newest_ns: u64,
    /// Different ones; the last one is the newest.
    sources: Vec<IpAddr>,
}

impl Strangers {
    /// Sources to remember.
    const MOST: usize = 4;

    /// Takes what was seen since, in the order of time.
    fn take(&mut self, seen: &[Seen]) {
        for Seen { at_ns, address } in seen {
            self.newest_ns = *at_ns;
            self.sources.retain(|known| known != address);
            self.sources.push(*address);
        }
        self.sources.drain(..self.sources.len().saturating_sub(Self::MOST));
    }
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
    pub(crate) fn new(
        active: &Active,
        map: ListenerMap,
        sources: Sources,
        findings: Findings,
    ) -> Result<Self> {
        let mut mistakes = Self { map, sources, listeners: Vec::new(), findings };
        mistakes.follow(active)?;
        Ok(mistakes)
    }

    /// Watches the listeners that are in force now, and starts counting anew: what was wrong may be right.
    pub(crate) fn follow(&mut self, active: &Active) -> Result<()> {
        let watched = active.listeners().map(|(place, listener)| {
            let headerless = listener.headerless;
            let before = counts(&self.map, place, headerless)?;
            let mut strangers = Strangers::default();
            strangers.take(&self.sources.since(place, 0)?);
            strangers.sources.clear();
            Ok(Watched { place, name: listener.name.clone(), headerless, before, strangers })
        });
        self.listeners = watched.collect::<Result<_>>()?;
        Ok(())
    }

    /// Logs each mistake when it is seen for the first time.
    pub(crate) fn check(&mut self) -> Result<()> {
        for listener in &mut self.listeners {
            let now = counts(&self.map, listener.place, listener.headerless)?;
            let strangers = &mut listener.strangers;
            strangers.take(&self.sources.since(listener.place, strangers.newest_ns)?);
            for (kind, count) in seen(&mut listener.before, now) {
                let mistake = (listener.name.clone(), kind);
                if kind == Kind::SomeHeaderless && listener.headerless == Headerless::Local {
                    continue;
                }
                if count == 0 {
                    self.findings.remove(&mistake);
                } else if let Some(sentence) = self.findings.add(mistake, count, &strangers.sources)
                {
                    tracing::warn!("{sentence}");
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
        let between = now.headerless - before.headerless;
        *before = Counts { untrusted: before.untrusted, ..now };
        seen.extend([(Kind::Headerless, 0), (Kind::OnlyUntrusted, 0)]);
        if between > 0 {
            seen.push((Kind::SomeHeaderless, between));
        }
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
mod tests;
