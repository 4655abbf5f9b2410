//! `[[listener]]`

use std::collections::{BTreeMap, BTreeSet};

use proxyip_common::settings::Denied;
use toml::de::DeValue;

use super::listener::{Listener, Versions};
use super::lists::{self, ALLOW, DENY, TRUSTED};
use super::networks::ListSpec;
use super::problem::Fault;
use super::schema::{Choices, Key, listener as keys};
use super::table::{Node, Report, Table, choose, integer};
use super::value::{self, PortRange};

pub(super) fn listeners(report: &mut Report, root: Table) -> Vec<Listener<ListSpec>> {
    let empty = |node: Node| node.get_ref().as_array().is_some_and(|list| list.is_empty());
    if root.node("listener").is_none_or(empty) {
        report.add(root.offset_of("listener"), "listener", Fault::NoListener);
    }
    let mut listeners: Vec<Listener<ListSpec>> = Vec::new();
    let mut owners: BTreeMap<u16, usize> = BTreeMap::new();
    for table in root.tables(report, "listener") {
        let listener = listener(report, table);
        if listeners.iter().any(|other| other.name == listener.name) {
            let fault = Fault::NameTaken { what: "listener", name: listener.name.clone() };
            report.add(table.offset_of("name"), table.path("name"), fault);
        }
        // Of two ranges that overlap, one port is enough to show it.
        let mut reported = BTreeSet::new();
        for port in &listener.ports {
            let owner = *owners.entry(*port).or_insert(listeners.len());
            if owner != listeners.len() && reported.insert(owner) {
                let fault = Fault::PortTaken { port: *port, other: listeners[owner].name.clone() };
                report.add(table.offset_of("ports"), table.path("ports"), fault);
            }
        }
        listeners.push(listener);
    }
    listeners
}

fn listener(report: &mut Report, table: Table) -> Listener<ListSpec> {
    table.check_keys(report, &keys::SECTION);
    let default = Listener::default();
    let allow = lists::optional(report, table, ALLOW);
    let deny = lists::optional(report, table, DENY);
    lists::check_contradictions(report, &allow, &deny);
    let (denied, mark) = denied(report, table);
    Listener {
        name: table.parsed(report, &keys::NAME).unwrap_or(default.name),
        ports: ports(report, table),
        trusted: lists::required(report, table, TRUSTED),
        untrusted: table.choice(report, &keys::UNTRUSTED).unwrap_or(default.untrusted),
        versions: versions(report, table).unwrap_or(default.versions),
        unknown: table.choice(report, &keys::UNKNOWN).unwrap_or(default.unknown),
        headerless: table.choice(report, &keys::HEADERLESS).unwrap_or(default.headerless),
        hand_off: table.choice(report, &keys::HAND_OFF).unwrap_or(default.hand_off),
        header_timeout: table
            .seconds(report, &keys::HEADER_TIMEOUT)
            .unwrap_or(default.header_timeout),
        allow,
        deny,
        denied: denied.unwrap_or(default.denied),
        mark: mark.unwrap_or(default.mark),
    }
}

fn ports(report: &mut Report, table: Table) -> Vec<u16> {
    let key = keys::PORTS.name;
    if !table.entries.contains_key(key) {
        report.add(table.offset, table.path(key), Fault::Missing);
    }
    let Some((offset, list)) = table.list(report, key) else { return Vec::new() };
    if list.is_empty() {
        report.add(offset, table.path(key), Fault::Empty("port"));
    }
    let ranges: Vec<_> = list.iter().filter_map(|node| port_range(report, table, node)).collect();
    value::expand(&ranges)
}

fn port_range(report: &mut Report, table: Table, node: Node) -> Option<PortRange> {
    let range = match (node.get_ref(), integer(node)) {
        (_, Some(port)) => PortRange::single(port).ok_or_else(|| Fault::NotAPort(port.to_string())),
        (DeValue::String(text), None) => text.parse(),
        _ => {
            table.wrong_type(
                report,
                keys::PORTS.name,
                node,
                "ports or ranges such as \"8000-8010\"",
            );
            return None;
        }
    };
    range.map_err(|fault| report.add(node.span().start, table.path(keys::PORTS.name), fault)).ok()
}

fn versions(report: &mut Report, table: Table) -> Option<Versions> {
    let Key { name: key, kind: Choices(choices), .. } = keys::VERSIONS;
    let (offset, list) = table.list(report, key)?;
    if list.is_empty() {
        report.add(offset, table.path(key), Fault::Empty("version"));
    }
    let mut versions = Versions { v1: false, v2: false };
    for node in list {
        let DeValue::String(text) = node.get_ref() else {
            table.wrong_type(report, key, node, "\"v1\" or \"v2\"");
            continue;
        };
        match choose(text, choices) {
            Ok(1) => versions.v1 = true,
            Ok(_) => versions.v2 = true,
            Err(fault) => report.add(node.span().start, table.path(key), fault),
        }
    }
    Some(versions)
}

/// `denied` and `mark`; `None` if absent or reported.
fn denied(report: &mut Report, table: Table) -> (Option<Denied>, Option<u32>) {
    let denied = table.choice(report, &keys::DENIED);
    let mark = table.number(report, &keys::MARK);
    let otherwise = match denied {
        Some(denied) => denied != Denied::Mark,
        None => !table.entries.contains_key(keys::DENIED.name),
    };
    let key = keys::MARK.name;
    if otherwise && table.entries.contains_key(key) {
        report.add(table.offset_of(key), table.path(key), Fault::MarkUnused);
    }
    (denied, mark)
}
