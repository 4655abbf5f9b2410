//! From TOML to a [`Config`].

use std::path::PathBuf;

use proxyip_common::settings::{MAX_NAMESPACES, MAX_SETS};
use toml::de::DeTable;

use super::networks::{self, MEMBERS};
use super::problem::{Fault, Problem};
use super::table::{Report, Table};
use super::{
    Agent, Config, Destination, FlowFormat, Interface, Log, Netns, Set, api, distinct, listeners,
    value,
};

/// Of the tables whose size can be chosen.
const MIN_ENTRIES: u32 = 1024;
const MAX_ENTRIES: u32 = 16_777_216;
/// In seconds.
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
    root.check_keys(&mut report, &["interface", "listener", "set", "api", "log", "agent"], &[]);
    let config = Config {
        interfaces: interfaces(&mut report, root),
        listeners: listeners::listeners(&mut report, root),
        sets: sets(&mut report, root),
        api: root
            .table(&mut report, "api")
            .map(|table| api::read(&mut report, table))
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

fn sets(report: &mut Report, root: Table) -> Vec<Set> {
    let mut sets: Vec<Set> = Vec::new();
    for table in root.tables(report, "set") {
        table.check_keys(report, &["name", "cidrs", "file"], &[]);
        if !table.entries.contains_key("name") {
            report.add(table.offset, table.path("name"), Fault::Missing);
        }
        let name = table.parsed(report, "name", value::set_name);
        if let Some(name) = &name
            && sets.iter().any(|other| other.name == *name)
        {
            let fault = Fault::NameTaken { what: "set", name: name.clone() };
            report.add(table.offset_of("name"), table.path("name"), fault);
        }
        let networks = networks::required(report, table, MEMBERS);
        sets.push(Set { name: name.unwrap_or_default(), networks });
    }
    if sets.len() > MAX_SETS as usize {
        report.add(0, "set", Fault::TooMany(MAX_SETS));
    }
    sets
}

fn log(report: &mut Report, table: Table) -> Log {
    table.check_keys(report, &["flows", "path", "to"], &[]);
    let formats = [("json", FlowFormat::Json), ("vpc", FlowFormat::Vpc), ("off", FlowFormat::Off)];
    Log {
        flows: table.choice(report, "flows", &formats).unwrap_or(Log::default().flows),
        to: destination(report, table),
    }
}

fn destination(report: &mut Report, table: Table) -> Destination {
    let journald = table.choice(report, "to", &[("stdout", false), ("journald", true)]);
    let path = table.absolute_path(report, "path");
    if path.is_some() && journald.is_some() {
        report.add(table.offset_of("to"), table.path("to"), Fault::PathAndTo);
    }
    match path {
        Some(path) => Destination::File(path),
        None if journald == Some(true) => Destination::Journald,
        None => Destination::Stdout,
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
