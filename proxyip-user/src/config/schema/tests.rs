//! The parser and the schema have the same keys, kinds, ranges and defaults; the JSON Schema says the same.

use std::collections::BTreeSet;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::*;
use crate::config::tests::{GOOD, LEAST};
use crate::config::{Fault, Problem, Spec};

/// A file that gives `key` this value, and else as little as possible.
pub(crate) fn with(section: &Section, key: &str, value: &str) -> String {
    let header = match section.shape {
        Shape::Table => format!("[{}]", section.name),
        Shape::Tables(..) => format!("[[{}]]", section.name),
    };
    let needed = match section.name {
        "listener" => vec![("ports", "[443]"), ("trusted", "['10.0.0.0/8']")],
        "set" => vec![("name", "'a'"), ("cidrs", "['10.0.0.0/8']")],
        _ => vec![],
    };
    let needed = needed.iter().filter(|(name, _)| *name != key);
    let mut lines: Vec<_> = needed.map(|(name, value)| format!("{name} = {value}")).collect();
    lines.push(format!("{key} = {value}"));
    if key == "mark" {
        lines.push("denied = 'mark'".into());
    }
    let listener = if section.name == "listener" { "" } else { LEAST };
    format!("{listener}{header}\n{}\n", lines.join("\n"))
}

/// What is wrong with a file, without the rule that two keys make together.
fn problems(text: &str) -> Vec<Problem> {
    let mut problems = Spec::from_toml(text).err().unwrap_or_default();
    problems.retain(|problem| !matches!(problem.fault, Fault::HandshakeTimeoutTooShort(_)));
    problems
}

/// Everything that the key may be by its kind, at the ends of its range; and values just outside.
fn ends(kind: &Kind) -> (Vec<String>, Vec<String>) {
    let range = |least: u32, most: u32| {
        let outside = [i64::from(least) - 1, i64::from(most) + 1];
        (vec![least.to_string(), most.to_string()], outside.map(|n| n.to_string()).to_vec())
    };
    let quoted = |labels: &[&str]| labels.iter().map(|label| format!("'{label}'")).collect();
    match kind {
        Kind::Flag => (vec!["true".into(), "false".into()], vec!["1".into()]),
        Kind::Number { least, most } => range(*least, *most),
        Kind::Seconds { most } => range(1, *most),
        Kind::Choice(labels) => (quoted(labels), vec!["'no such'".into(), "''".into()]),
        Kind::Choices(labels) => {
            let each = labels.iter().map(|label| format!("['{label}']")).collect();
            (each, vec!["[]".into(), "['no such']".into()])
        }
        Kind::Text(_) => (vec![], vec!["1".into(), "['/a']".into()]),
        Kind::Ports => (
            ["[1]", "[65535]", "['1-65535']", "[1, '8000-8010']"].map(Into::into).to_vec(),
            ["[]", "[0]", "[65536]", "['x']", "80", "[true]"].map(Into::into).to_vec(),
        ),
        Kind::Networks => (
            ["['10.0.0.0/8', 'fd00::/8']", "'10.0.0.0/8, fd00::/8'"].map(Into::into).to_vec(),
            ["''", "['any']", "['10.0.0.1']", "[1]", "1"].map(Into::into).to_vec(),
        ),
    }
}

/// Good and wrong strings of each form.
fn texts(section: &str, key: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match (section, key) {
        ("interface", "name") => (
            &["eth0", "a", "123456789012345", "eth0.5", "..a", "eth*", "e?h[0-9]"],
            &["", ".", "..", "a/b", "a b", "1234567890123456", "eth* ", "a:b"],
        ),
        ("interface", "netns") => (
            &["host", "/run/netns/blue", "/run/netns/*", "/run/netns/cni-[0-9]?"],
            &["blue", "/run/*/ns", "*", ""],
        ),
        ("listener", "name") => (&["web", "é a"], &["", " "]),
        ("set", "name") => {
            (&["a", "office_net-1"], &["", "a/b", "123456789012345678901234567890123"])
        }
        ("api", "http") => (&["127.0.0.1:9811", "[::1]:0"], &["localhost:1", "127.0.0.1", "::1"]),
        (_, "socket_mode" | "lookup_socket_mode") => {
            (&["0660", "660", "0", "0777"], &["0888", "1777", "", "0o660", "+660"])
        }
        (_, "socket_group" | "lookup_socket_group") => (&["www-data", "33"], &[]),
        _ => (&["/var/a", "/"], &["a", "", "./a"]),
    }
}

fn all() -> impl Iterator<Item = (&'static Section, &'static (dyn Described + Sync))> {
    SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| (*section, *key)))
}

/// Good and wrong values of a key, as TOML.
fn values(section: &Section, key: &dyn Described) -> (Vec<String>, Vec<String>) {
    let (mut good, mut wrong) = ends(&key.kind());
    if let Kind::Text(_) = key.kind() {
        let (right, not) = texts(section.name, key.name());
        good.extend(right.iter().map(|text| format!("'{text}'")));
        wrong.extend(not.iter().map(|text| format!("'{text}'")));
    }
    wrong.push("1979-05-27".into());
    (good, wrong)
}

/// A TOML file as JSON.
fn to_json(text: &str) -> Value {
    table_to_json(DeTable::parse(text).unwrap().get_ref())
}

fn table_to_json(table: &DeTable) -> Value {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue>)| {
        let key: &std::borrow::Cow<str> = key.get_ref();
        (key.to_string(), value_to_json(value.get_ref()))
    };
    Value::Object(table.iter().map(entry).collect())
}

fn value_to_json(value: &DeValue) -> Value {
    match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).unwrap().into()
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().unwrap().into(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Datetime(date) => serde_json::json!({"date": date.to_string()}),
        DeValue::Array(list) => list.iter().map(|item| value_to_json(item.get_ref())).collect(),
        DeValue::Table(table) => table_to_json(table),
    }
}

fn validator() -> jsonschema::Validator {
    let schema = json_schema();
    assert!(jsonschema::draft202012::meta::is_valid(&schema), "{schema}");
    jsonschema::draft202012::new(&schema).unwrap()
}

#[test]
fn each_key_of_the_schema_is_read_with_its_kind_and_range() {
    for (section, key) in all() {
        let name = key.name();
        let place = format!("{}.{name}", section.name);
        let (good, wrong) = values(section, key);
        assert!(!good.is_empty(), "{place}");
        for value in good {
            let seen = problems(&with(section, name, &value));
            assert!(seen.is_empty(), "{place} = {value}: {seen:?}");
        }
        for value in wrong {
            let seen = problems(&with(section, name, &value));
            assert!(seen.iter().any(|problem| problem.key == place), "{place} = {value}: {seen:?}");
        }
    }
}

#[test]
fn the_json_schema_takes_what_the_parser_takes() {
    let validator = validator();
    for (section, key) in all() {
        let (good, wrong) = values(section, key);
        for value in good {
            let text = with(section, key.name(), &value);
            assert!(validator.is_valid(&to_json(&text)), "{text}");
        }
        for value in wrong {
            let text = with(section, key.name(), &value);
            assert!(!validator.is_valid(&to_json(&text)), "{text}");
        }
    }
    for text in [GOOD, LEAST] {
        assert!(validator.is_valid(&to_json(text)), "{text}");
    }
    for text in [
        "",
        "listener = []",
        "[[listener]]\nports = [1]\n",
        "[[listener]]\ntrusted = ['::/0']\n",
        &format!("{LEAST}x = 1\n"),
        &format!("{LEAST}[[set]]\ncidrs = '::/0'\n"),
        &format!("interface = []\n{LEAST}"),
        &format!("{LEAST}[[interface]]\nxdp = 'yes'\n"),
        &format!("{LEAST}[x]\n"),
    ] {
        assert!(Spec::from_toml(text).is_err(), "{text}");
        assert!(!validator.is_valid(&to_json(text)), "{text}");
    }
}

#[test]
fn a_default_means_the_same_as_no_key() {
    // Lines differ.
    let shown = |text: &str| Some(without_places(&format!("{:?}", Spec::from_toml(text).ok()?)));
    for (section, key) in all() {
        let Fallback::Value(default) = key.default() else { continue };
        let (name, place) = (key.name(), format!("{}.{}", section.name, key.name()));
        let with_default = with(section, name, default);
        let without = shown(&with_default.replace(&format!("{name} = {default}\n"), "")).unwrap();
        assert_eq!(shown(&with_default).as_ref(), Some(&without), "{place}");
        let (good, _) = values(section, key);
        let mut others = good.iter().filter_map(|value| shown(&with(section, name, value)));
        assert!(others.any(|other| other != without), "{place} is not read");
    }
}

fn without_places(shown: &str) -> String {
    let parts = shown.split("line: ");
    parts.map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit())).collect()
}

#[test]
fn each_key_is_documented_and_named_once() {
    for section in SECTIONS {
        assert!(section.doc.ends_with('.'), "{}", section.name);
        let names: BTreeSet<_> = section.keys.iter().map(|key| key.name()).collect();
        assert_eq!(names.len(), section.keys.len(), "{}", section.name);
    }
    for (section, key) in all() {
        let (doc, place) = (key.doc(), format!("{}.{}", section.name, key.name()));
        assert!(doc.len() > 10 && doc.ends_with('.'), "{place}: {doc}");
        assert_eq!(doc.matches('`').count() % 2, 0, "{place}: {doc}");
        if let Fallback::RequiredUnless(other) = key.default() {
            assert!(section.keys.iter().any(|key| key.name() == other), "{place}: {other}");
        }
    }
}

#[test]
fn what_needs_more_than_a_reload() {
    let more = |effect| {
        let keys = all().filter(move |(_, key)| key.effect() == effect);
        keys.map(|(section, key)| format!("{}.{}", section.name, key.name())).collect::<Vec<_>>()
    };
    let detach =
        ["agent.pin_path", "agent.max_flows", "agent.max_translated", "agent.max_listeners"];
    assert_eq!(more(Effect::Detach), detach);
}
