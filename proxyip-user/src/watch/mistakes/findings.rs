//! The mistakes that were seen lately.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use proxyip_api::finding::{Finding, FindingKind};

use crate::config::{Headerless, Listener, Networks, Untrusted};
use crate::desired::active::Active;

/// How long the agent reports a mistake after it was last seen.
const MEMORY: Duration = Duration::from_mins(15);
/// This many connections without a header are no accident: a port scan makes one or two.
pub(super) const ACCIDENTS: u64 = 3;

/// What was seen lately.
#[derive(Clone, Debug, Default)]
pub struct Findings(Arc<Mutex<BTreeMap<Mistake, Found>>>);

/// A mistake, and the listener that has it.
pub(super) type Mistake = (String, Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
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
    pub(super) fn add(&self, mistake: Mistake, count: u64, sources: &[IpAddr]) -> Option<String> {
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

    /// Follows a reload: forgets what another configuration may have cured, and names listeners as they are called now.
    pub(super) fn follow(&self, old: &Active, new: &Active) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stays = |((name, kind), mut found): (Mistake, Found)| {
            let (_, before) = old.named(&name)?;
            let listener = successor(before, new)?;
            let may_last = kind.may_last(before, listener, &mut found);
            may_last.then(|| ((listener.name.clone(), kind), found))
        };
        *all = std::mem::take(&mut *all).into_iter().filter_map(stays).collect();
    }

    /// Forgets the findings that have proved to be no mistakes.
    pub(super) fn remove(&self, mistake: &Mistake) {
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

    /// Whether it is a mistake of sources that are not trusted.
    pub(super) const fn is_of_strangers(self) -> bool {
        matches!(self, Self::UntrustedHeader | Self::OnlyUntrusted)
    }

    /// Whether a listener with these settings can have the mistake.
    pub(super) fn is_possible(self, listener: &Listener) -> bool {
        match self {
            Self::Headerless => true,
            Self::SomeHeaderless => listener.headerless == Headerless::Reset,
            Self::UntrustedHeader => listener.untrusted == Untrusted::Bypass,
            Self::OnlyUntrusted => listener.untrusted == Untrusted::Reset,
        }
    }

    /// Whether a reload may have left the mistake as it was. Forgets the sources that are trusted now.
    fn may_last(self, before: &Listener, listener: &Listener, found: &mut Found) -> bool {
        let same_trust = before.trusted == listener.trusted;
        let knew_sources = !found.sources.is_empty();
        retain_strangers(&mut found.sources, &listener.trusted);
        let strangers_last = if knew_sources { !found.sources.is_empty() } else { same_trust };
        let sources_last = if self.is_of_strangers() { strangers_last } else { same_trust };
        sources_last && self.is_possible(listener)
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
                "listener {listener:?}: PROXY headers from sources that are not trusted{such_as}; the application gets \
                 them, {count} by now: {ADD_OR_SHOW}"
            ),
        }
    }
}

/// A listener as it is now: with its name and some of its ports, or with its ports and another name. Nobody knows which of
/// its ports a mistake was seen at.
fn successor<'a>(before: &Listener, new: &'a Active) -> Option<&'a Listener> {
    let shares = |one: &&Listener| one.ports.iter().any(|port| before.ports.contains(port));
    let same = new.named(&before.name).map(|(_, listener)| listener).filter(shares);
    same.or_else(|| new.config.listeners.iter().find(|one| one.ports == before.ports))
}

/// Forgets sources that are trusted.
pub(super) fn retain_strangers(sources: &mut Vec<IpAddr>, trusted: &Networks) {
    sources.retain(|source| !trusted.iter().any(|network| network.contains(source)));
}

/// What to do with a source that is not trusted.
const ADD_OR_SHOW: &str = "if it is the load balancer's address, add it to `trusted`; if it is a client's, the load \
     balancer passes the clients' addresses on (AWS target group attribute preserve_client_ip.enabled: set it to false)";

/// Names the sources, the newest first, in the middle of a sentence.
fn such_as(sources: &[IpAddr]) -> String {
    let names: Vec<_> = sources.iter().rev().map(ToString::to_string).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}
