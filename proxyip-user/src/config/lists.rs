//! Reads lists of networks: `KEY`, which has them in the configuration itself, and `KEY_file`, which names a file of
//! them.

use ipnet::IpNet;
use toml::de::DeValue;

use super::networks::{ListSpec, NAMED, contradictions};
use super::problem::Fault;
use super::schema::{self, Key, NetworkList, Path};
use super::table::{Report, Table};
use super::value::{self, distinct};

/// The two keys of a list.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub(super) written: &'static Key<NetworkList>,
    pub(super) file: &'static Key<Path>,
}

pub(super) static TRUSTED: Keys =
    Keys { written: &schema::listener::TRUSTED, file: &schema::listener::TRUSTED_FILE };
pub(super) static ALLOW: Keys =
    Keys { written: &schema::listener::ALLOW, file: &schema::listener::ALLOW_FILE };
pub(super) static DENY: Keys =
    Keys { written: &schema::listener::DENY, file: &schema::listener::DENY_FILE };
pub(super) static MEMBERS: Keys = Keys { written: &schema::set::CIDRS, file: &schema::set::FILE };

/// Reads a list that need not be there.
pub(super) fn optional(report: &mut Report, table: Table, keys: Keys) -> ListSpec {
    let key = keys.written.name;
    ListSpec {
        written: written(report, table, key),
        has_items: has_items(table, key),
        place: table.place(report, key),
        file: table.placed(report, keys.file),
    }
}

/// Reads a list that must have at least one of its keys.
pub(super) fn required(report: &mut Report, table: Table, keys: Keys) -> ListSpec {
    let (written, file) = (keys.written.name, keys.file.name);
    if !table.entries.contains_key(file) {
        if !table.entries.contains_key(written) {
            report.add(table.offset, table.path(written), Fault::NoList(file));
        } else if !has_items(table, written) {
            report.add(table.offset_of(written), table.path(written), Fault::Empty("network"));
        }
    }
    optional(report, table, keys)
}

/// Reports networks that are in both lists. Those of files are looked at when the files are read.
pub(super) fn check_contradictions(report: &mut Report, allow: &ListSpec, deny: &ListSpec) {
    let both = contradictions(&allow.written, &deny.written);
    for network in both.iter().take(NAMED) {
        report.place(deny.place, Fault::AllowedAndDenied(**network));
    }
    if both.len() > NAMED {
        report.place(deny.place, Fault::More(both.len() - NAMED));
    }
}

/// Whether `key` is there and is not an empty list; what is wrong with the items is another matter.
fn has_items(table: Table, key: &str) -> bool {
    let empty = |value: &DeValue| value.as_array().is_some_and(|list| list.is_empty());
    table.node(key).is_some_and(|node| !empty(node.get_ref()))
}

fn written(report: &mut Report, table: Table, key: &str) -> Vec<IpNet> {
    const EXPECTED: &str = "a list of networks, or one string of them with commas between";
    let Some(node) = table.node(key) else { return Vec::new() };
    let mut networks = Vec::new();
    match node.get_ref() {
        DeValue::String(text) if text.trim().is_empty() => {
            report.add(node.span().start, table.path(key), Fault::Empty("network"));
        }
        DeValue::String(text) => {
            let items =
                text.split(',').map(|item| (node.span().start, value::network(item.trim())));
            networks.extend(items);
        }
        DeValue::Array(list) => {
            for item in list {
                let DeValue::String(text) = item.get_ref() else {
                    table.wrong_type(report, key, item, "networks such as \"10.0.0.0/16\"");
                    continue;
                };
                networks.push((item.span().start, list_item(text)));
            }
        }
        _ => table.wrong_type(report, key, node, EXPECTED),
    }
    distinct(networks.into_iter().filter_map(|(offset, network)| {
        network.map_err(|fault| report.add(offset, table.path(key), fault)).ok()
    }))
}

fn list_item(text: &str) -> Result<IpNet, Fault> {
    if text.contains(',') { Err(Fault::CommaInItem(text.into())) } else { value::network(text) }
}
