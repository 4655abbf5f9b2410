//! In what two configurations differ, key by key. It looks at nothing else.

use std::collections::BTreeSet;
use std::fmt::Display;

use proxyip_api::config::ConfigJson;
use proxyip_api::difference::{Change, How, Items};
use serde_json::{Map, Value};

use crate::config::schema::{Effect, SECTIONS, Section, Shape};

/// How many items of a list are named.
const NAMED: usize = 5;
/// The section of networks in files.
const FILES: &str = "file";

/// The keys of a table.
type Entry = Map<String, Value>;

/// What `new` changes in `old`, in the order of the schema; then the networks in files that both name.
pub(crate) fn changes(old: &ConfigJson, new: &ConfigJson) -> Vec<Change> {
    let of_section = |section: &&'static Section| {
        let [old, new] = [old, new].map(|config| config.config.get(section.name));
        match section.shape {
            Shape::Table => of_table(section, [old, new]),
            Shape::Tables(..) => of_list(section, [entries(old), entries(new)]),
        }
    };
    let mut changes: Vec<_> = SECTIONS.iter().flat_map(of_section).collect();
    for (path, networks) in &new.networks {
        let before = old.networks.get(path);
        let how = before.and_then(|before| items(before, networks));
        changes.extend(how.map(|how| Change {
            section: FILES.into(),
            name: Some(path.clone()),
            key: None,
            needs: Effect::Reload.label().into(),
            how,
        }));
    }
    changes
}

fn of_table(section: &'static Section, tables: [Option<&Value>; 2]) -> Vec<Change> {
    let empty = Entry::new();
    let [old, new] = tables.map(|table| table.and_then(Value::as_object).unwrap_or(&empty));
    of_entry((section, None), [old, new])
}

/// Entries have names. They may come in any order.
fn of_list(section: &'static Section, [old, new]: [Vec<&Entry>; 2]) -> Vec<Change> {
    let there = |entries: &[&Entry], name: &str| entries.iter().any(|one| name_of(one) == name);
    let whole = |entry: &Entry, how: fn(Value) -> How| Change {
        section: section.name.into(),
        name: Some(name_of(entry)),
        key: None,
        needs: Effect::Reload.label().into(),
        how: how(Value::Object(entry.clone())),
    };
    let gone = old.iter().filter(|entry| !there(&new, &name_of(entry)));
    let mut changes: Vec<_> =
        gone.map(|entry| whole(entry, |from| How::Removed { from })).collect();
    for entry in new {
        let name = name_of(entry);
        match old.iter().find(|one| name_of(one) == name) {
            None => changes.push(whole(entry, |to| How::Added { to })),
            Some(before) => changes.extend(of_entry((section, Some(&name)), [before, entry])),
        }
    }
    changes
}

fn of_entry(
    (section, name): (&'static Section, Option<&str>),
    [old, new]: [&Entry; 2],
) -> Vec<Change> {
    let change = |key: &&(dyn crate::config::schema::Described + Sync)| {
        let how = match (old.get(key.name()), new.get(key.name())) {
            (None, None) => None,
            (Some(from), None) => Some(How::Removed { from: from.clone() }),
            (None, Some(to)) => Some(How::Added { to: to.clone() }),
            (Some(Value::Array(from)), Some(Value::Array(to))) => items(&words(from), &words(to)),
            (Some(from), Some(to)) if from == to => None,
            (Some(from), Some(to)) => Some(How::Changed { from: from.clone(), to: to.clone() }),
        };
        Some(Change {
            section: section.name.into(),
            name: name.map(str::to_owned),
            key: Some(key.name().into()),
            needs: key.effect().label().into(),
            how: how?,
        })
    };
    section.keys.iter().filter_map(change).collect()
}

/// What comes to a list and what goes; `None` if both have the same items.
fn items<T: Ord + Display>(old: &[T], new: &[T]) -> Option<How> {
    let [before, after] = [old, new].map(|items| items.iter().collect::<BTreeSet<_>>());
    let of = |items: Vec<&&T>| Items {
        count: items.len(),
        first: items.iter().take(NAMED).map(ToString::to_string).collect(),
    };
    let added = of(after.difference(&before).collect());
    let removed = of(before.difference(&after).collect());
    (added.count + removed.count > 0).then_some(How::Items { added, removed })
}

fn entries(list: Option<&Value>) -> Vec<&Entry> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object).collect()
}

/// Interfaces of several namespaces may have the same name.
fn name_of(entry: &Entry) -> String {
    let text = |key| entry.get(key).and_then(Value::as_str);
    let name = text("name").unwrap_or_default();
    match text("netns").filter(|netns| *netns != "host") {
        Some(netns) => format!("{name} in {netns}"),
        None => name.into(),
    }
}

/// Ports come in their order.
fn words(list: &[Value]) -> Vec<Word> {
    list.iter()
        .map(|value| value.as_u64().map_or_else(|| Word::Text(text(value)), Word::Number))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Number(u64),
    Text(String),
}

impl Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::schema::tests::with;
    use crate::config::tests::LEAST;

    fn shown(text: &str) -> ConfigJson {
        Config::from_toml(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}")).shown()
    }

    /// Two values of a key, for keys whose values the schema does not list.
    fn two_values(section: &str, key: &str, file: &str) -> [String; 2] {
        let values = match (section, key) {
            ("interface", "name") => ["'eth0'", "'eth1'"],
            ("interface", "netns") => ["'host'", "'/run/netns/blue'"],
            ("interface", "xdp") => ["'off'", "'auto'"],
            ("listener" | "set", "name") => ["'a'", "'b'"],
            ("listener", "ports") => ["[80]", "[81]"],
            ("listener", "trusted" | "allow" | "deny") | ("set", "cidrs") => {
                ["['10.0.0.0/8']", "['10.0.0.0/8', 'fd00::/8']"]
            }
            ("listener", "trusted_file" | "allow_file" | "deny_file") | ("set", "file") => {
                return ["''".into(), format!("'{file}'")];
            }
            ("listener", "untrusted") => ["'bypass'", "'drop'"],
            ("listener", "denied") => ["'reset'", "'drop'"],
            ("listener", "mark") | ("agent", "max_tlv_memory") => ["1", "2"],
            ("listener", "versions") => ["['v1']", "['v1', 'v2']"],
            ("listener", "hand_off") => ["'auto'", "'observe'"],
            ("listener", "unknown") => ["'accept'", "'local'"],
            ("listener", "headerless") => ["'reset'", "'local'"],
            ("listener", "header_timeout") => ["4", "5"],
            (_, "socket" | "lookup_socket" | "path")
            | ("agent", "pin_path" | "procfs_path" | "netns_path") => ["'/a'", "'/b'"],
            (_, "socket_mode" | "lookup_socket_mode") => ["'0600'", "'0660'"],
            (_, "socket_group" | "lookup_socket_group") => ["'33'", "'34'"],
            ("api", "http") => ["'127.0.0.1:1'", "'127.0.0.1:2'"],
            ("api", "http_remote" | "getsockopt") => ["true", "false"],
            ("log", "flows") => ["'json'", "'vpc'"],
            ("log", "to") => ["'stdout'", "'journald'"],
            ("agent", "max_flows" | "max_translated") => ["1024", "2048"],
            ("agent", "max_listeners") => ["8", "9"],
            ("agent", "handshake_timeout") => ["400", "500"],
            _ => panic!("{section}.{key} has no two values here: add them"),
        };
        values.map(str::to_owned)
    }

    /// A key that [`Config::shown`] forgets shows no difference.
    #[test]
    fn each_key_of_the_schema_shows_that_it_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("networks");
        std::fs::write(&file, "192.0.2.0/24\n").unwrap();
        let file = file.display().to_string();
        for section in SECTIONS {
            for key in section.keys {
                let (name, place) = (key.name(), format!("{}.{}", section.name, key.name()));
                let [old, new] = two_values(section.name, name, &file).map(|value| {
                    let text = with(section, name, &value);
                    shown(&text.replace(&format!("{name} = ''\n"), ""))
                });
                let changes = changes(&old, &new);
                assert!(!changes.is_empty(), "{place}: no difference");
                let is_it = |one: &Change| match (one.key.as_deref(), name) {
                    // The entry has another name.
                    (None, "name" | "netns") => one.section == section.name,
                    // The default of the other one follows.
                    (Some("lookup_socket"), "socket") => true,
                    (at, _) => at == Some(name) && one.section == section.name,
                };
                assert!(changes.iter().all(is_it), "{place}: {changes:?}");
                assert!(
                    changes.iter().all(|one| one.needs == key.effect().label()),
                    "{place}: {changes:?}"
                );
                assert_eq!(super::changes(&new, &new), [], "{place}");
            }
        }
    }

    #[test]
    fn lists_are_compared_by_their_items() {
        let ports = |ports: &str| {
            shown(&format!("[[listener]]\nports = {ports}\ntrusted = ['10.0.0.0/8']\n"))
        };
        assert_eq!(changes(&ports("[80, 443]"), &ports("[443, 80]")), []);
        let [change] = &changes(&ports("[80, 443]"), &ports("[80, '1000-1007']"))[..] else {
            panic!("one change")
        };
        let words = |numbers: &[u16]| numbers.iter().map(ToString::to_string).collect();
        let added = Items { count: 8, first: words(&[1000, 1001, 1002, 1003, 1004]) };
        assert_eq!(
            change.how,
            How::Items { added, removed: Items { count: 1, first: words(&[443]) } }
        );
        assert_eq!(
            (change.name.as_deref(), change.key.as_deref()),
            (Some("default"), Some("ports"))
        );
    }

    #[test]
    fn networks_in_a_file_are_compared_if_both_name_it() {
        let config = |path: &str, networks: &[&str]| ConfigJson {
            networks: [(path.into(), networks.iter().map(|one| one.parse().unwrap()).collect())]
                .into(),
            ..shown(LEAST)
        };
        let old = config("/a", &["10.0.0.0/8"]);
        assert_eq!(changes(&old, &config("/b", &["fd00::/8"])), []);
        let [change] = &changes(&old, &config("/a", &["10.0.0.0/8", "fd00::/8"]))[..] else {
            panic!("one change")
        };
        assert_eq!((&*change.section, change.name.as_deref()), (FILES, Some("/a")));
        let added = Items { count: 1, first: vec!["fd00::/8".into()] };
        assert_eq!(change.how, How::Items { added, removed: Items::default() });
    }

    #[test]
    fn entries_are_known_by_their_names() {
        let two = |first: &str, second: &str| {
            let listener = |name: &str, port: u16| {
                format!(
                    "[[listener]]\nname = '{name}'\nports = [{port}]\ntrusted = ['10.0.0.0/8']\n"
                )
            };
            shown(&format!("{}{}", listener(first, 80), listener(second, 81)))
        };
        let said = |changes: Vec<Change>| {
            let said = |one: Change| (one.name.unwrap(), matches!(one.how, How::Added { .. }));
            changes.into_iter().map(said).collect::<Vec<_>>()
        };
        let changed = said(changes(&two("a", "b"), &two("a", "c")));
        assert_eq!(changed, [("b".into(), false), ("c".into(), true)]);
        // Each name has the other one's port now.
        assert_eq!(changes(&two("a", "b"), &two("b", "a")).len(), 2);
    }
}
