//! From TOML to a [`Config`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ipnet::IpNet;
use proxyip_common::settings::{MAX_LISTENERS, MAX_NAMESPACES};
use toml::de::{DeTable, DeValue};

use super::problem::{Fault, Problem};
use super::table::{Node, Report, Table, choose, integer};
use super::value::{self, PortRange};
use super::{
    Agent, Api, Config, FlowFormat, HandOffChoice, Interface, Listener, Log, Netns, Unknown,
    Untrusted, Versions, distinct,
};

/// Of the tables whose size can be chosen.
const MIN_ENTRIES: u32 = 1024;
const MAX_ENTRIES: u32 = 16_777_216;
/// In seconds.
const MAX_HEADER_TIMEOUT: u32 = 300;
const MAX_HANDSHAKE_TIMEOUT: u32 = 86_400;

pub(super) fn read(text: &str) -> Result<Config, Vec<Problem>> {
    let mut report = Report::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in &errors {
            report.add_syntax(error);
        }
        return Err(report.into_problems());
    }
    let root = Table { name: "", entries: document.get_ref(), offset: 0 };
    root.check_keys(&mut report, &["interface", "listener", "api", "log", "agent"], &["set"]);
    let config = Config {
        interfaces: interfaces(&mut report, root),
        listeners: listeners(&mut report, root),
        api: root
            .table(&mut report, "api")
            .map(|table| api(&mut report, table))
            .unwrap_or_default(),
        log: root
            .table(&mut report, "log")
            .map(|table| log(&mut report, table))
            .unwrap_or_default(),
        agent: root
            .table(&mut report, "agent")
            .map(|table| agent(&mut report, table))
            .unwrap_or_default(),
    };
    if let Some(listener) = config
        .listeners
        .iter()
        .find(|listener| listener.header_timeout >= config.agent.handshake_timeout)
    {
        let fault = Fault::HandshakeTimeoutTooShort(listener.name.clone());
        report.add(0, "agent.handshake_timeout", fault);
    }
    let problems = report.into_problems();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

fn interfaces(report: &mut Report, root: Table) -> Vec<Interface> {
    if !root.entries.contains_key("interface") {
        return vec![Interface::default()];
    }
    let mut interfaces = Vec::new();
    for table in root.tables(report, "interface") {
        table.check_keys(report, &["name", "netns"], &["xdp"]);
        let default = Interface::default();
        let interface = Interface {
            name: table.parsed(report, "name", value::interface_name).unwrap_or(default.name),
            netns: table.parsed(report, "netns", netns).unwrap_or(default.netns),
        };
        if interfaces.contains(&interface) {
            let fault = Fault::InterfaceTwice(interface.name);
            report.add(table.offset_of("name"), table.path("name"), fault);
        } else {
            interfaces.push(interface);
        }
    }
    let namespaces = distinct(interfaces.iter().map(|interface| &interface.netns));
    if namespaces.len() > MAX_NAMESPACES as usize {
        report.add(0, "interface.netns", Fault::TooMany(MAX_NAMESPACES));
    }
    if interfaces.is_empty() {
        report.add(0, "interface", Fault::Empty("interface"));
    }
    interfaces
}

fn netns(text: &str) -> Result<Netns, Fault> {
    match text {
        "host" => Ok(Netns::Host),
        _ if value::is_glob(text) => Err(Fault::GlobNotSupported(text.into())),
        _ if text.starts_with('/') => Ok(Netns::Path(PathBuf::from(text))),
        _ => Err(Fault::NotANamespace(text.into())),
    }
}

fn listeners(report: &mut Report, root: Table) -> Vec<Listener> {
    if !root.entries.contains_key("listener") {
        report.add(0, "listener", Fault::NoListener);
    }
    let mut listeners: Vec<Listener> = Vec::new();
    let mut owners: BTreeMap<u16, usize> = BTreeMap::new();
    for table in root.tables(report, "listener") {
        let listener = listener(report, table);
        if listeners.iter().any(|other| other.name == listener.name) {
            let fault = Fault::NameTaken(listener.name.clone());
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
    if listeners.len() > MAX_LISTENERS as usize {
        report.add(0, "listener", Fault::TooMany(MAX_LISTENERS));
    }
    listeners
}

fn listener(report: &mut Report, table: Table) -> Listener {
    const KNOWN: &[&str] = &[
        "name",
        "ports",
        "trusted",
        "untrusted",
        "versions",
        "hand_off",
        "unknown",
        "header_timeout",
    ];
    table.check_keys(report, KNOWN, &["allow", "deny", "denied", "mark"]);
    let default = Listener::default();
    let untrusted = [
        ("bypass", Some(Untrusted::Bypass)),
        ("reset", Some(Untrusted::Reset)),
        ("drop", Some(Untrusted::Drop)),
    ];
    let unknown = [("accept", Some(Unknown::Accept)), ("reset", Some(Unknown::Reset))];
    let hand_off = [
        ("auto", Some(HandOffChoice::Auto)),
        ("accept", Some(HandOffChoice::Accept)),
        ("translate", Some(HandOffChoice::Translate)),
        ("observe", Some(HandOffChoice::Observe)),
    ];
    Listener {
        name: table.parsed(report, "name", name).unwrap_or(default.name),
        ports: ports(report, table),
        trusted: trusted(report, table),
        untrusted: table.choice(report, "untrusted", &untrusted).unwrap_or(default.untrusted),
        versions: versions(report, table).unwrap_or(default.versions),
        unknown: table.choice(report, "unknown", &unknown).unwrap_or(default.unknown),
        hand_off: table.choice(report, "hand_off", &hand_off).unwrap_or(default.hand_off),
        header_timeout: table
            .seconds(report, "header_timeout", MAX_HEADER_TIMEOUT)
            .unwrap_or(default.header_timeout),
    }
}

fn name(text: &str) -> Result<String, Fault> {
    if text.trim().is_empty() { Err(Fault::Empty("character")) } else { Ok(text.into()) }
}

/// Reads each item of a list that must be there and must not be empty.
fn required<T>(
    report: &mut Report,
    table: Table,
    key: &str,
    what: &'static str,
    mut read: impl FnMut(&mut Report, Node) -> Option<T>,
) -> Vec<T> {
    if !table.entries.contains_key(key) {
        report.add(table.offset, table.path(key), Fault::Missing);
    }
    let Some((offset, list)) = table.list(report, key) else { return Vec::new() };
    if list.is_empty() {
        report.add(offset, table.path(key), Fault::Empty(what));
    }
    list.iter().filter_map(|node| read(report, node)).collect()
}

fn ports(report: &mut Report, table: Table) -> Vec<u16> {
    let ranges = required(report, table, "ports", "port", |report, node| {
        let range = match (node.get_ref(), integer(node)) {
            (_, Some(port)) => {
                PortRange::single(port).ok_or_else(|| Fault::NotAPort(port.to_string()))
            }
            (DeValue::String(text), None) => text.parse(),
            _ => {
                table.wrong_type(report, "ports", node, "ports or ranges such as \"8000-8010\"");
                return None;
            }
        };
        range.map_err(|fault| report.add(node.span().start, table.path("ports"), fault)).ok()
    });
    value::expand(&ranges)
}

fn trusted(report: &mut Report, table: Table) -> Vec<IpNet> {
    distinct(required(report, table, "trusted", "network", |report, node| {
        let DeValue::String(text) = node.get_ref() else {
            table.wrong_type(report, "trusted", node, "networks such as \"10.0.0.0/16\"");
            return None;
        };
        value::network(text)
            .map_err(|fault| report.add(node.span().start, table.path("trusted"), fault))
            .ok()
    }))
}

fn versions(report: &mut Report, table: Table) -> Option<Versions> {
    let (offset, list) = table.list(report, "versions")?;
    if list.is_empty() {
        report.add(offset, table.path("versions"), Fault::Empty("version"));
    }
    let mut versions = Versions { v1: false, v2: false };
    for node in list {
        let DeValue::String(text) = node.get_ref() else {
            table.wrong_type(report, "versions", node, "\"v1\" or \"v2\"");
            continue;
        };
        match choose(text, &[("v1", Some(1)), ("v2", Some(2))]) {
            Ok(1) => versions.v1 = true,
            Ok(_) => versions.v2 = true,
            Err(fault) => report.add(node.span().start, table.path("versions"), fault),
        }
    }
    Some(versions)
}

fn api(report: &mut Report, table: Table) -> Api {
    table.check_keys(report, &["socket"], &["lookup_socket", "http"]);
    Api { socket: table.absolute_path(report, "socket").unwrap_or(Api::default().socket) }
}

fn log(report: &mut Report, table: Table) -> Log {
    table.check_keys(report, &["flows", "path"], &[]);
    let formats = [("json", Some(FlowFormat::Json)), ("off", Some(FlowFormat::Off)), ("vpc", None)];
    Log {
        flows: table.choice(report, "flows", &formats).unwrap_or(Log::default().flows),
        path: table.absolute_path(report, "path"),
    }
}

fn agent(report: &mut Report, table: Table) -> Agent {
    let known = ["pin_path", "max_flows", "max_translated", "handshake_timeout"];
    table.check_keys(report, &known, &[]);
    let default = Agent::default();
    let mut entries = |key| table.number(report, key, MIN_ENTRIES, MAX_ENTRIES);
    let max_flows = entries("max_flows").unwrap_or(default.max_flows);
    let max_translated = entries("max_translated").unwrap_or(default.max_translated);
    Agent {
        pin_path: table.absolute_path(report, "pin_path").unwrap_or(default.pin_path),
        max_flows,
        max_translated,
        handshake_timeout: table
            .seconds(report, "handshake_timeout", MAX_HANDSHAKE_TIMEOUT)
            .unwrap_or(default.handshake_timeout),
    }
}
