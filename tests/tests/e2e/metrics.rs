//! `GET /metrics`, read by another program's parser.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Site, address, attempt, eventually, is_reset};
use proxyip_user::config::{default_max_flows, processors};

use crate::common::{header_of_client, open_and_send, open_for, trusted_dial};

/// Samples by name and labels, for example `proxyip_drops_total{reason=bad_header}`.
type Samples = BTreeMap<String, u64>;

/// Prints a line `TYPE NAME VALUE` for each sample; fails on what is forbidden.
const PARSER: &str = r#"
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
for family in parse(sys.stdin.read()):
    assert family.documentation, family
    for sample in family.samples:
        labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
        print(family.type, sample.name + (f"{{{labels}}}" if labels else ""), int(sample.value))
"#;

/// All samples of a scrape, and the counters among them.
fn scrape(site: &Site, agent: &Agent) -> (Samples, Samples) {
    let reply = agent.api().reply("GET", "/metrics");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = site.scratch.write("metrics", &String::from_utf8(reply.body).expect("text"));
    // Debian's own Python, because the parser is a Debian package.
    let mut parser = Command::new("/usr/bin/python3");
    let text = std::fs::File::open(text).expect("the scrape");
    let output = attempt(parser.args(["-c", PARSER]).stdin(text));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut all, mut counters) = (Samples::new(), Samples::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let [kind, name, value] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let value = value.parse().expect("a number");
        assert!(all.insert(name.to_owned(), value).is_none(), "{name} comes twice");
        if kind == "counter" {
            counters.insert(name.to_owned(), value);
        }
    }
    (all, counters)
}

fn connections(hand_off: &str, verdict: &str, version: &str) -> String {
    format!(
        "proxyip_connections_total{{hand_off={hand_off},listener=web,verdict={verdict},version={version}}}"
    )
}

fn of_family(samples: &Samples, name: &str) -> Samples {
    let of_it = |sample: &&String| sample.split('{').next() == Some(name);
    let samples = samples.iter().filter(|(sample, _)| of_it(sample));
    samples.map(|(name, value)| (name.clone(), *value)).collect()
}

#[test]
fn numbers_follow_traffic_and_survive_the_agent() {
    const ESTABLISHED: &str = "proxyip_established_total";
    const CLOSED: &str = "proxyip_closed_total";
    const FLOWS: &str = "proxyip_flows";
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]);
    let mut agent = Agent::start(&site, &guard);
    let (idle, _) = scrape(&site, &agent);
    let told = [ESTABLISHED, CLOSED, FLOWS, "proxyip_flows_limit"].map(|name| idle[name]);
    assert_eq!(told, [0, 0, 0, default_max_flows(processors()).into()]);
    assert!(idle.keys().any(|name| name.starts_with("proxyip_build_info{version=")), "{idle:?}");

    let mut open: Vec<_> = (0..5).map(|number| open_for(&site, number).0).collect();
    open.pop();
    agent.wait_counter("closed", 1);
    let bad = open_and_send(&site, &trusted_dial(80), b"PROXY TCP4 nonsense\r\n");
    assert!(is_reset(&bad));
    let none = open_and_send(&site, &trusted_dial(80), b"GET / HTTP/1.0\r\n\r\n");
    assert!(is_reset(&none));
    let drops = agent.numbers("drops");
    assert_eq!(drops.values().sum::<u64>(), 2, "{drops:?}");
    let expected: Samples =
        drops.keys().map(|reason| (format!("proxyip_drops_total{{reason={reason}}}"), 1)).collect();
    assert_eq!(expected.len(), 2, "two reasons");
    let (busy, before) = eventually("the flow is gone", || {
        Some(scrape(&site, &agent)).filter(|(busy, _)| busy[FLOWS] == 4)
    });
    assert_eq!([ESTABLISHED, CLOSED].map(|name| busy[name]), [5, 1]);
    let refused: Samples = busy
        .iter()
        .filter(|(name, value)| name.starts_with("proxyip_drops_total{") && **value > 0)
        .map(|(name, value)| (name.clone(), *value))
        .collect();
    assert_eq!(refused, expected);
    assert_eq!(
        of_family(&busy, "proxyip_connections_total"),
        [
            (connections(HandOff::Auto.label(), "accept", "v2"), 5),
            (connections(HandOff::Auto.label(), "reset", "undecided"), 2)
        ]
        .into(),
    );
    let latency = of_family(&busy, "proxyip_header_latency_seconds_bucket");
    assert_eq!(latency.len(), 21, "{latency:?}");
    assert_eq!(latency["proxyip_header_latency_seconds_bucket{le=+Inf,listener=web}"], 5);
    assert_eq!(latency["proxyip_header_latency_seconds_bucket{le=524.288,listener=web}"], 5);
    assert_eq!(busy["proxyip_header_latency_seconds_count{listener=web}"], 5);
    assert!(busy["proxyip_header_latency_seconds_sum{listener=web}"] < 5, "seconds");
    assert_eq!(busy["proxyip_listener_headerless_total{listener=web}"], 1);
    assert_eq!(busy["proxyip_listener_denied_total{listener=web}"], 0);
    let started = busy["proxyip_start_time_seconds"];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    assert!((now - 600..=now).contains(&started), "{started}");

    for kill in [true, false] {
        agent.process().signal(if kill { Signal::SIGKILL } else { Signal::SIGTERM });
        agent.process().wait();
        let unseen = open_and_send(&site, &trusted_dial(80), &header_of_client());
        agent.start_again();
        let (_, after) = scrape(&site, &agent);
        for (name, value) in &before {
            // The log's lines are the process's own.
            let may_begin_anew = name.starts_with("proxyip_flow_log_lost_lines");
            assert!(may_begin_anew || after[name] >= *value, "{name} was {value}: {after:?}");
        }
        drop(unseen);
    }
    let drops: Vec<_> = drops.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    site.finish(&mut agent, &drops);
}
