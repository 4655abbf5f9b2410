//! `GET /v1/status`.

use std::collections::HashSet;

use anyhow::Result;
use axum::extract::State;
use axum::response::Response;
use proxyip_api::finding::{Finding, FindingKind};
use proxyip_api::status::{
    DegradedPort, InterfaceJson, Limits, ListenerJson, ListenersJson, Numbers, OrphanedRules,
    PatternJson, Status, Verdicts, XdpJson,
};
use proxyip_common::counter::{Counter, DropReason, Obstacle};
use proxyip_common::verdict::Verdict;

use super::hand_offs::{connections, new_connections, with_fallbacks};
use super::{reload, settings};
use crate::api::failure::Failure;
use crate::api::source::Source;
use crate::api::state::Shared;
use crate::config::{Interface, Listener, Namespaces, Networks, port_ranges};
use crate::desired::active::Active;
use crate::tables::fill::Fill;
use crate::tables::outcomes::Outcome;
use crate::watch::full;
use crate::watch::guarding::{AtXdp, Place};

fn verdicts(outcomes: &[Outcome]) -> Verdicts {
    let count = |verdict| {
        let of_verdict = outcomes.iter().filter(|outcome| outcome.verdict == verdict);
        of_verdict.map(|outcome| outcome.count).sum()
    };
    Verdicts {
        accept: count(Verdict::Accept),
        mark: count(Verdict::Mark),
        reset: count(Verdict::Reset),
        drop: count(Verdict::Drop),
    }
}

/// What the agent guards, and what it has counted.
#[utoipa::path(
    get, path = "/v1/status", tag = "agent",
    responses((status = 200, description = "All of it", body = Status))
)]
pub(crate) async fn status(State(shared): State<Shared>) -> Result<Response, Failure> {
    let work = |shared: &Shared| Ok(read(shared, &shared.active())?);
    shared.json(work).await
}

/// What the agent guards.
#[utoipa::path(
    get, path = "/v1/listeners", tag = "agent",
    responses((status = 200, description = "In the order of the configuration", body = ListenersJson))
)]
pub(crate) async fn listeners(State(shared): State<Shared>) -> Result<Response, Failure> {
    let read = |shared: &Shared| {
        let listeners = listeners_of(&*shared.source, &shared.active())?;
        Ok(ListenersJson { listeners })
    };
    shared.json(read).await
}

fn read(shared: &Shared, active: &Active) -> Result<Status> {
    let (source, last_reload) = (&*shared.source, shared.reloads.last());
    let served = source.served();
    let (flows, translated) = source.capacity();
    let warnings = &active.warnings;
    let findings: Vec<_> =
        reload::finding(&last_reload).into_iter().chain(findings(source, active)?).collect();
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_s: shared.started.elapsed().as_secs(),
        counters: labelled(source.counters()?, Counter::label),
        drops: labelled(source.drops()?, DropReason::label),
        left_to_kernel: labelled(source.left_to_kernel()?, Obstacle::label),
        interfaces: interfaces(active, &served),
        patterns: patterns(active, &served),
        listeners: listeners_of(source, active)?,
        flows: source.flow_count()?,
        translated: source.translated()?,
        limits: Limits { flows, translated },
        settings: settings::settings(&active.config),
        mended: source.mended(),
        kernel: source.limits(),
        warnings: Finding::sentences(warnings),
        findings: Finding::sentences(&findings),
        remarks: warnings.iter().cloned().chain(findings).collect(),
        last_reload: reload::last(last_reload),
        orphaned: orphaned(active),
    })
}

/// Those that the configuration names, and those that its patterns have found.
fn interfaces(active: &Active, served: &[Place]) -> Vec<InterfaceJson> {
    let entries = active.config.interfaces.iter().filter(|entry| !entry.is_pattern());
    let json = |name: String, netns: &Namespaces, xdp| InterfaceJson {
        name,
        netns: netns.to_string(),
        xdp,
    };
    let mut all: Vec<_> = entries.map(|one| json(one.name.to_string(), &one.netns, None)).collect();
    for Place { name, netns, xdp } in served {
        let one = json(name.clone(), &Namespaces::One(netns.clone()), xdp.as_ref().map(at_xdp));
        match all.iter_mut().find(|other| (&other.name, &other.netns) == (&one.name, &one.netns)) {
            Some(there) => *there = one,
            None => all.push(one),
        }
    }
    all
}

fn at_xdp(AtXdp { wanted, mode }: &AtXdp) -> XdpJson {
    let (mode, reason) = match mode {
        Ok(mode) => (*mode, None),
        Err(why) => ("none", Some(why.clone())),
    };
    XdpJson { wanted: wanted.label().into(), mode: mode.into(), reason }
}

fn patterns(active: &Active, served: &[Place]) -> Vec<PatternJson> {
    let entries = active.config.interfaces.iter().filter(|entry| entry.is_pattern());
    let pattern = |entry: &Interface| {
        let is_one =
            |place: &&Place| entry.netns.contains(&place.netns) && entry.name.contains(&place.name);
        let (name, netns) = (entry.name.to_string(), entry.netns.to_string());
        PatternJson { name, netns, interfaces: served.iter().filter(is_one).count() }
    };
    entries.map(pattern).collect()
}

fn orphaned(active: &Active) -> Vec<OrphanedRules> {
    let of = |(listener, rules): &(String, usize)| OrphanedRules {
        listener: listener.clone(),
        rules: *rules,
    };
    active.orphans.iter().map(of).collect()
}

/// What somebody should look at.
fn findings(source: &dyn Source, active: &Active) -> Result<Vec<Finding>> {
    let mut findings = source.detached();
    findings.extend(source.mixed().map(|mixed| Finding::new(FindingKind::ConfigMixed, mixed)));
    for listener in &active.config.listeners {
        let finding = |port: DegradedPort| degraded(&listener.name, &port);
        findings.extend(source.degraded(listener)?.into_iter().map(finding));
    }
    findings.extend(active.listeners().filter_map(|(place, one)| drained(source, place, one)));
    let flows = Fill { map: "FLOWS", entries: source.flow_count()?, most: source.capacity().0 };
    let fills = source.fills()?;
    findings.extend(fills.iter().chain([&flows]).filter_map(full::finding));
    findings.extend(source.findings());
    Ok(findings)
}

/// That a listener refuses new connections, though the configuration does not say so.
fn drained(
    source: &dyn Source,
    place: u16,
    Listener { name, ports, .. }: &Listener,
) -> Option<Finding> {
    let drained = source.drained(place, ports);
    let ports = Some(port_ranges(&drained)).filter(|_| !drained.is_empty())?;
    let sentence = format!(
        "listener {name:?}: new connections to ports {ports} are refused, because a command drained them; \
         `proxyip listener resume` ends that"
    );
    Some(Finding::new(FindingKind::Drained, sentence))
}

fn degraded(listener: &str, port: &DegradedPort) -> Finding {
    let DegradedPort { port, netns, retry_s, reason } = port;
    let place = if netns == "host" { String::new() } else { format!(" in {netns}") };
    let (because, advice) = if *reason == Obstacle::Delayed.label() {
        ("accepted ones were established late", "docs/firewalls.md says what delays them")
    } else {
        (
            "none that was handed over was established for a while",
            "look for firewall rules that drop ACKs without a SYN",
        )
    };
    let sentence = format!(
        "new connections to port {port}{place} of listener {listener:?} are translated, because {because}; accept is \
         tried again in {retry_s} s: {advice}"
    );
    Finding::new(FindingKind::Degraded, sentence)
}

fn listeners_of(source: &dyn Source, active: &Active) -> Result<Vec<ListenerJson>> {
    active.listeners().map(|(place, one)| listener(source, place, one)).collect()
}

fn listener(source: &dyn Source, place: u16, listener: &Listener) -> Result<ListenerJson> {
    let degraded = source.degraded(listener)?;
    let counts = source.listener_counts(place)?;
    let new = new_connections(listener.hand_off, source.obstacle().as_ref());
    let served = source.served();
    let namespaces = served.iter().map(|place| &place.netns).collect::<HashSet<_>>().len();
    Ok(ListenerJson {
        name: listener.name.clone(),
        ports: listener.ports.clone(),
        trusted: listener.trusted.written.clone(),
        trusted_by_file: listener.trusted.file.as_ref().map_or(0, |file| file.networks.len()),
        allow: count(&listener.allow),
        deny: count(&listener.deny),
        denied: listener.denied_label().into(),
        hand_off: listener.hand_off_label().into(),
        drained: source.drained(place, &listener.ports),
        new_connections: with_fallbacks(new, (&listener.ports, namespaces), &degraded),
        degraded,
        connections: connections(&counts),
        verdicts: verdicts(&source.outcomes(place)?),
        headerless: counts.headerless,
    })
}

fn count(networks: &Networks) -> Option<usize> {
    networks.is_given().then(|| networks.iter().count())
}

fn labelled<T: Copy>(numbers: Vec<(T, u64)>, label: impl Fn(T) -> &'static str) -> Numbers {
    numbers.into_iter().map(|(what, number)| (label(what).into(), number)).collect()
}
