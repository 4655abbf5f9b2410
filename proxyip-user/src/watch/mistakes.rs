//! Mistakes in the configuration, here or at the load balancer, that show in the traffic.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use proxyip_common::counter::per_listener;

pub use findings::Findings;
use findings::{ACCIDENTS, Kind, retain_strangers};

use crate::config::{Headerless, Listener, Networks};
use crate::desired::active::Active;
use crate::tables::listeners::ListenerMap;
use crate::tables::sources::{Seen, Sources};

mod findings;

/// Watches the counters of the listeners.
pub(crate) struct Mistakes {
    map: ListenerMap,
    sources: Sources,
    active: Arc<Active>,
    /// By place, also of those that no listener has: the next one there must not begin with what was counted before.
    looks: Vec<Look>,
    findings: Findings,
}

/// What was seen at the last look at a listener's place.
#[derive(Debug, Default)]
struct Look {
    before: Counts,
    strangers: Strangers,
    anew: Anew,
}

/// Which counts begin anew at the next look.
#[derive(Debug, Default)]
struct Anew {
    /// Of trusted sources.
    trusted: bool,
    /// Of refused SYNs.
    refused: bool,
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

    /// Forgets those that are trusted now. True if it knew only these.
    fn forget_trusted(&mut self, trusted: &Networks) -> bool {
        let before = self.sources.len();
        retain_strangers(&mut self.sources, trusted);
        before > 0 && self.sources.is_empty()
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
        active: &Arc<Active>,
        map: ListenerMap,
        sources: Sources,
        findings: Findings,
    ) -> Result<Self> {
        let mut looks = Vec::new();
        for place in (0..map.room()).map_while(|place| u16::try_from(place).ok()) {
            let headerless = active.at(place).map_or(Headerless::Reset, |one| one.headerless);
            let mut look = Look { before: counts(&map, place, headerless)?, ..Look::default() };
            look.strangers.take(&sources.since(place, 0)?);
            look.strangers.sources.clear();
            looks.push(look);
        }
        Ok(Self { map, sources, active: Arc::clone(active), looks, findings })
    }

    /// Watches the listeners that are in force now. What they counted since the last look is still to be judged.
    pub(crate) fn follow(&mut self, active: &Arc<Active>) {
        let old = std::mem::replace(&mut self.active, Arc::clone(active));
        self.findings.follow(&old, active);
        for (place, listener) in active.listeners() {
            let before = old.at(place).filter(|before| before.name == listener.name);
            if let Some(look) = self.looks.get_mut(usize::from(place)) {
                look.restart(before, listener);
            }
        }
    }

    /// Logs each mistake when it is seen for the first time.
    pub(crate) fn check(&mut self) -> Result<()> {
        for (place, listener) in self.active.listeners() {
            let Some(look) = self.looks.get_mut(usize::from(place)) else { continue };
            let now = counts(&self.map, place, listener.headerless)?;
            look.strangers.take(&self.sources.since(place, look.strangers.newest_ns)?);
            look.judge(listener, now, &self.findings);
        }
        Ok(())
    }
}

impl Look {
    /// Another listener has this place, or the same one perhaps with other settings. What trusted sources did may be right
    /// now, and those that were refused may be trusted. Headers of other sources are judged by the new settings.
    fn restart(&mut self, before: Option<&Listener>, listener: &Listener) {
        let same_trust = |before: &&Listener| before.trusted == listener.trusted;
        let trusts = before.filter(same_trust);
        self.anew.trusted |= trusts.is_none_or(|one| one.headerless != listener.headerless);
        self.anew.refused |= trusts.is_none_or(|one| one.untrusted != listener.untrusted);
        if before.is_none() {
            self.strangers.sources.clear();
        }
    }

    /// Logs each mistake that is new.
    fn judge(&mut self, listener: &Listener, now: Counts, findings: &Findings) {
        let anew = std::mem::take(&mut self.anew);
        if anew.trusted {
            let Counts { headers, headerless, .. } = now;
            self.before = Counts { headers, headerless, ..self.before };
        }
        if anew.refused {
            self.before.refused = now.refused;
        }
        let is_cured = self.strangers.forget_trusted(&listener.trusted);
        for (kind, count) in seen(&mut self.before, now) {
            let mistake = (listener.name.clone(), kind);
            if count == 0 {
                findings.remove(&mistake);
                continue;
            }
            if !kind.is_possible(listener) || kind.is_of_strangers() && is_cured {
                continue;
            }
            if let Some(sentence) = findings.add(mistake, count, &self.strangers.sources) {
                tracing::warn!("{sentence}");
            }
        }
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
