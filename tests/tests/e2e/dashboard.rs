//! The dashboard for Grafana asks for what the agent has.

use std::collections::BTreeSet;

use proxyip_tests::{Agent, Guard, Site, attempt};
use serde_json::Value;

const DASHBOARD: &str = include_str!("../../../deploy/grafana-dashboard.json");

#[test]
fn every_metric_of_the_dashboard_exists() {
    let site = Site::without_captures();
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let socket = site.scratch.path("api.sock").display().to_string();
    let mut curl = site.net.server.command("curl");
    let answer =
        attempt(curl.args(["-sS", "--fail", "--unix-socket", &socket, "http://localhost/metrics"]));
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let metrics = metrics(&String::from_utf8_lossy(&answer.stdout));

    let asked = asked_for(&dashboard());
    assert!(asked.len() > 15, "{asked:?}");
    let unknown: Vec<_> = asked.difference(&metrics).collect();
    assert!(unknown.is_empty(), "{unknown:?} are none of {metrics:?}");
    site.finish(&mut agent, &[]);
}

#[test]
fn panels_have_ids_of_their_own_and_ask_the_chosen_source() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> =
        panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len());
    assert!(dashboard["schemaVersion"].as_u64() >= Some(38));
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        assert!(panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()), "{panel}");
    }
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<_> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "instance", "listener"]);
}

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).expect("the dashboard is JSON")
}

/// The names of all samples that the agent may have, also of families that have no samples now.
fn metrics(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let samples = |(name, kind): (&str, &str)| {
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_count", "_sum"],
            _ => &[""],
        };
        suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect::<Vec<_>>()
    };
    types.flat_map(samples).collect()
}

/// The metrics in the expressions of panels and variables.
fn asked_for(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(asked_for).collect(),
        Value::Object(fields) => {
            let texts = ["expr", "definition"].iter().filter_map(|key| fields.get(*key)?.as_str());
            texts.flat_map(names).chain(fields.values().flat_map(asked_for)).collect()
        }
        _ => BTreeSet::new(),
    }
}

fn names(expression: &str) -> impl Iterator<Item = String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("proxyip_")).map(str::to_owned)
}
