//! `GET /metrics`: everything that is counted, for Prometheus.
//!
//! The numbers are the kernel maps' own, read for each scrape: they go on where they were when the agent is restarted.

use std::collections::HashSet;
use std::fmt;

use anyhow::{Context, Result};
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text::encode};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use proxyip_common::counter::{Counter, DropReason, Obstacle};
use proxyip_common::flow::HandOff;
use proxyip_common::verdict::Verdict;

use crate::api::failure::Failure;
use crate::api::state::Shared;
use crate::config::Namespaces;
use crate::reconcile::reloads::Last;
use crate::tables::fill::Fill;
use crate::tables::listeners::ListenerCounts;
use crate::tables::outcomes::{Latency, Outcome};
use crate::watch::guarding::Place;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the agent guards and has counted, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "agent",
    responses(
        (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"),
    )
)]
pub(crate) async fn metrics(State(shared): State<Shared>) -> Result<Response, Failure> {
    shared.answer(OPEN_METRICS, |shared| Ok(write(Numbers::read(shared)?)?.into_bytes())).await
}

fn write(numbers: Numbers) -> Result<String> {
    let mut registry = Registry::with_prefix("proxyip");
    registry.register_collector(Box::new(numbers));
    let mut text = String::new();
    encode(&mut text, &registry).context("the metrics cannot be written")?;
    Ok(text)
}

/// A scrape that has a sample of each family, for the documents.
pub(crate) fn sample() -> Result<String> {
    let outcome = Outcome { hand_off: None, version: None, verdict: Verdict::Accept, count: 1 };
    let counts =
        ListenerCounts { accept: 0, observe: 0, translate: Vec::new(), denied: 0, headerless: 0 };
    let latency = Latency { buckets: vec![(None, 0)], ..Latency::default() };
    let listener = OfListener { counts, outcomes: vec![outcome], latency, drained: 0, degraded: 0 };
    write(Numbers {
        counters: Counter::ALL.iter().map(|counter| (*counter, 0)).collect(),
        drops: DropReason::ALL.iter().map(|reason| (*reason, 0)).collect(),
        left_to_kernel: Obstacle::ALL.iter().map(|reason| (*reason, 0)).collect(),
        listeners: vec![("web".into(), listener)],
        flows: 0,
        translated: 0,
        fills: vec![Fill { map: "FLOWS", entries: 0, most: 0 }],
        capacity: (0, 0),
        lost_lines: 0,
        served: (0, 0),
        at_xdp: vec![[
            ("interface", "eth0".into()),
            ("netns", "host".into()),
            ("mode", "none".into()),
        ]],
        missing: 0,
        mended: 0,
        started_s: 0,
        last_reload: Last {
            at: Timestamp::UNIX_EPOCH,
            succeeded_at: Timestamp::UNIX_EPOCH,
            error: None,
        },
        is_mixed: false,
    })
}

/// All numbers of one scrape.
#[derive(Debug)]
struct Numbers {
    counters: Vec<(Counter, u64)>,
    drops: Vec<(DropReason, u64)>,
    left_to_kernel: Vec<(Obstacle, u64)>,
    /// By name, in the order of the configuration.
    listeners: Vec<(String, OfListener)>,
    flows: u64,
    translated: u64,
    fills: Vec<Fill>,
    /// Of flows, then of translated connections.
    capacity: (u64, u64),
    lost_lines: u64,
    /// Interfaces, then namespaces.
    served: (u64, u64),
    at_xdp: Vec<[(&'static str, String); 3]>,
    /// How many kernel programs are not where they belong now.
    missing: u64,
    mended: u64,
    started_s: u64,
    last_reload: Last,
    is_mixed: bool,
}

#[derive(Debug)]
struct OfListener {
    /// Ports that get a lesser hand-off for a while.
    degraded: u64,
    counts: ListenerCounts,
    outcomes: Vec<Outcome>,
    latency: Latency,
    /// Ports that are drained.
    drained: usize,
}

impl Numbers {
    fn read(shared: &Shared) -> Result<Self> {
        let source = &shared.source;
        let active = shared.active();
        let listeners = active.listeners().map(|(place, listener)| {
            let of_listener = OfListener {
                degraded: source.degraded(listener)?.len() as u64,
                counts: source.listener_counts(place)?,
                outcomes: source.outcomes(place)?,
                latency: source.header_latency(place)?,
                drained: source.drained(place, &listener.ports).len(),
            };
            Ok((listener.name.clone(), of_listener))
        });
        let (flows, capacity) = (source.flow_count()?, source.capacity());
        let mut fills = vec![Fill { map: "FLOWS", entries: flows, most: capacity.0 }];
        fills.extend(source.fills()?);
        Ok(Self {
            counters: source.counters()?,
            drops: source.drops()?,
            left_to_kernel: source.left_to_kernel()?,
            listeners: listeners.collect::<Result<_>>()?,
            flows,
            translated: source.translated()?,
            fills,
            capacity,
            lost_lines: shared.lost_lines.count(),
            served: served(&source.served()),
            at_xdp: source.served().iter().filter_map(at_xdp).collect(),
            missing: u64::try_from(source.detached().len())?,
            mended: source.mended(),
            started_s: shared.started_at.as_secs(),
            last_reload: shared.reloads.last(),
            is_mixed: source.mixed().is_some(),
        })
    }
}

/// How many interfaces and namespaces there are.
fn served(places: &[Place]) -> (u64, u64) {
    let namespaces: HashSet<_> = places.iter().map(|place| &place.netns).collect();
    (places.len() as u64, namespaces.len() as u64)
}

/// Where an interface's program at XDP runs, if one is wanted.
fn at_xdp(Place { name, netns, xdp }: &Place) -> Option<[(&'static str, String); 3]> {
    let mode = xdp.as_ref()?.mode.as_ref().map_or("none", |mode| *mode);
    let netns = Namespaces::One(netns.clone()).to_string();
    Some([("interface", name.clone()), ("netns", netns), ("mode", mode.into())])
}

impl Collector for Numbers {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut families = Families(encoder);
        families.build()?;
        for (counter, count) in &self.counters {
            families.counter(counter.label(), counter.sentence(), *count)?;
        }
        families.connections(&self.listeners)?;
        let denied = |counts: &ListenerCounts| counts.denied;
        let help = "connections whose client is denied: reset, dropped or marked";
        families.of_listeners("listener_denied", help, &self.listeners, denied)?;
        let headerless = |counts: &ListenerCounts| counts.headerless;
        let help = "connections of trusted sources that began without a header";
        families.of_listeners("listener_headerless", help, &self.listeners, headerless)?;
        families.drained(&self.listeners)?;
        families.latency(&self.listeners)?;
        let drops = self.drops.iter().map(|(reason, count)| ([("reason", reason.label())], *count));
        families.counters("drops", "connections and segments that were refused", drops)?;
        let left = self.left_to_kernel.iter();
        let left = left.map(|(reason, count)| ([("reason", reason.label())], *count));
        families.counters(
            "left_to_kernel",
            "connections left to the kernel, header in place",
            left,
        )?;
        let (interfaces, namespaces) = self.served;
        families.gauge("interfaces", "interfaces that are there to be attached to", interfaces)?;
        families.gauge(
            "namespaces",
            "network namespaces that have these interfaces",
            namespaces,
        )?;
        let help = "where the program at XDP of an interface runs that wants one: native, generic, or none";
        families.gauges("xdp", help, self.at_xdp.iter().map(|labels| (labels.clone(), 1)))?;
        let (most_flows, most_translated) = self.capacity;
        families.gauge("flows", "flows that are known now", self.flows)?;
        families.gauge("flows_limit", "flows that can be known at a time", most_flows)?;
        let translated = "translated_connections";
        families.gauge(translated, "connections that are translated now", self.translated)?;
        let limit = "translated_connections_limit";
        families.gauge(limit, "connections that can be translated at a time", most_translated)?;
        families.fills(&self.fills)?;
        families.degraded(&self.listeners)?;
        let lost = "lines of the flow log that could not be written";
        families.counter("flow_log_lost_lines", lost, self.lost_lines)?;
        let missing =
            "places where a kernel program belongs and is not attached: those are not guarded";
        families.gauge("unguarded", missing, self.missing)?;
        let mended = "kernel programs and pins that were gone and have been put back";
        families.counter("mended", mended, self.mended)?;
        let started = "start_time_seconds";
        families.gauge(
            started,
            "when the agent was started, since the Unix epoch",
            self.started_s,
        )?;
        families.last_reload(&self.last_reload)?;
        let help = "1 while the maps have parts of two configurations, because a refused change cannot be undone";
        families.gauge("config_mixed", help, u64::from(self.is_mixed))
    }
}

/// Writes one family of metrics after the other.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn build(&mut self) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let mut family = self.0.encode_descriptor("build", "the agent", None, MetricType::Info)?;
        family.encode_info(&version)
    }

    fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&count, None)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in rows {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }

    fn connections(&mut self, listeners: &[(String, OfListener)]) -> fmt::Result {
        let of = |(name, listener): &'_ (String, OfListener)| {
            let name = name.clone();
            let outcomes = listener.outcomes.clone().into_iter();
            outcomes.map(move |outcome| (labels(&name, &outcome), outcome.count))
        };
        let help = "connections by hand-off, version and verdict; undecided: refused before these were known";
        self.counters("connections", help, listeners.iter().flat_map(of))
    }

    fn of_listeners(
        &mut self,
        name: &str,
        help: &str,
        listeners: &[(String, OfListener)],
        count: impl Fn(&ListenerCounts) -> u64,
    ) -> fmt::Result {
        let row = |(name, listener): &(String, OfListener)| {
            ([("listener", name.clone())], count(&listener.counts))
        };
        self.counters(name, help, listeners.iter().map(row))
    }

    fn fills(&mut self, fills: &[Fill]) -> fmt::Result {
        let entries = "entries of a table of the kernel programs that can fill up; of FLOWS, those that are established";
        let most = "entries that the table can have";
        let of = |fill: &Fill| [("map", fill.map)];
        let rows = fills.iter().map(|fill| (of(fill), fill.entries));
        self.gauges("map_entries", entries, rows)?;
        self.gauges("map_max_entries", most, fills.iter().map(|fill| (of(fill), fill.most)))
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn drained(&mut self, listeners: &[(String, OfListener)]) -> fmt::Result {
        let help = "ports whose new connections are refused, because a command drained them";
        let name = "listener_drained_ports";
        let row = |(name, listener): &(String, OfListener)| {
            ([("listener", name.clone())], listener.drained as u64)
        };
        self.gauges(name, help, listeners.iter().map(row))
    }

    fn degraded(&mut self, listeners: &[(String, OfListener)]) -> fmt::Result {
        let help = "ports whose new connections are translated for a while, because the stack refused others or took them late";
        let row = |(name, listener): &(String, OfListener)| {
            ([("listener", name.clone())], listener.degraded)
        };
        self.gauges("degraded_ports", help, listeners.iter().map(row))
    }

    fn latency(&mut self, listeners: &[(String, OfListener)]) -> fmt::Result {
        let help = "from the SYN to the segment that completes the header, where that is known";
        let unit = Unit::Seconds;
        let mut family =
            self.0.encode_descriptor("header_latency", help, Some(&unit), MetricType::Histogram)?;
        for (name, OfListener { latency, .. }) in listeners {
            let bound = |(bound, count): &(Option<u64>, u64)| {
                (bound.map_or(f64::INFINITY, seconds), *count)
            };
            let buckets: Vec<_> = latency.buckets.iter().map(bound).collect();
            let labels = [("listener", name.as_str())];
            let sum = latency.sum.as_secs_f64();
            let mut histogram = family.encode_family(&labels)?;
            histogram.encode_histogram::<NoLabelSet>(sum, latency.count, &buckets, None)?;
        }
        Ok(())
    }

    /// With the names that Prometheus and its kin give these numbers of their own.
    fn last_reload(&mut self, last: &Last) -> fmt::Result {
        let help = "1 if the last reload succeeded, 0 if it was refused and the old configuration stays in force";
        let successful = u64::from(last.error.is_none());
        self.gauge("config_last_reload_successful", help, successful)?;
        let help = "when the configuration in force was read, since the Unix epoch";
        let seconds = last.succeeded_at.as_second().try_into().unwrap_or_default();
        self.gauge("config_last_reload_success_timestamp_seconds", help, seconds)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        family.encode_gauge(&value)
    }
}

fn labels(listener: &str, outcome: &Outcome) -> [(&'static str, String); 4] {
    let hand_off = outcome.hand_off.map_or("undecided", HandOff::label);
    let version =
        outcome.version.map_or_else(|| "undecided".into(), |version| format!("v{version}"));
    [
        ("listener", listener.to_owned()),
        ("hand_off", hand_off.to_owned()),
        ("version", version),
        ("verdict", outcome.verdict.label().to_owned()),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "exact for longer than a host lives")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}
