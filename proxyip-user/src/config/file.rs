//! From TOML to a [`Spec`].

use nix::unistd::Gid;
use proxyip_common::settings::{MAX_NAMESPACES, MAX_SETS};
use toml::de::DeTable;

use super::api::{Access, Api, GroupName};
use super::listener::Listener;
use super::listeners;
use super::lists::{self, MEMBERS};
use super::model::{Agent, Destination, Interface, Log, Set, Spec, Whereabouts};
use super::networks::ListSpec;
use super::problem::{At, Fault, Problem};
use super::schema::{self, Section};
use super::table::{Report, Table};
use super::value::distinct;

impl Spec {
    /// Reads the text of a TOML file.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the lines.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Problem>> {
        match read(text) {
            (Some(spec), problems) if problems.is_empty() => Ok(spec),
            (_, problems) => Err(problems),
        }
    }

    /// Reads the text of a TOML file as well as it can be read. Returns what is right, or nothing if the text is not
    /// TOML. Also returns everything that is wrong, in the order of the lines.
    #[must_use]
    pub fn read(text: &str) -> (Option<Self>, Vec<Problem>) {
        read(text)
    }
}

/// Reads the text of a file. The problems come in the order of the lines. The specification has everything that is
/// right, and is absent if the text is not TOML.
fn read(text: &str) -> (Option<Spec>, Vec<Problem>) {
    let mut report = Report::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in &errors {
            report.add_syntax(error);
        }
        return (None, report.into_problems());
    }
    let root = Table { name: "", entries: document.get_ref(), offset: 0 };
    let known: Vec<_> = schema::SECTIONS.iter().map(|section| section.name).collect();
    root.check_names(&mut report, &known, &[]);
    let spec = Spec {
        interfaces: interfaces(&mut report, root),
        listeners: listeners::listeners(&mut report, root),
        sets: sets(&mut report, root),
        api: section(&mut report, root, &schema::api::SECTION, api),
        log: section(&mut report, root, &schema::log::SECTION, log),
        agent: section(&mut report, root, &schema::agent::SECTION, agent),
    };
    let too_long =
        |listener: &&Listener<_>| listener.header_timeout >= spec.agent.handshake_timeout;
    if let Some(listener) = spec.listeners.iter().find(too_long) {
        let fault = Fault::HandshakeTimeoutTooShort(listener.name.clone());
        let key = schema::agent::HANDSHAKE_TIMEOUT.name;
        report.add(root.offset_within("agent", key), format!("agent.{key}"), fault);
    }
    let most = spec.agent.max_listeners;
    if spec.listeners.len() > most as usize {
        report.add(root.offset_of("listener"), "listener", Fault::TooManyListeners(most));
    }
    (Some(spec), report.into_problems())
}

impl Whereabouts {
    /// Reads the text of a file that has mistakes. What cannot be read is at its default.
    #[must_use]
    pub fn read(text: &str) -> Self {
        // The mistakes are reported by whoever reads the whole file.
        let mut report = Report::new(text);
        let (document, _) = DeTable::parse_recoverable(text);
        let root = Table { name: "", entries: document.get_ref(), offset: 0 };
        Self {
            socket: section(&mut report, root, &schema::api::SECTION, api).socket,
            pin_path: section(&mut report, root, &schema::agent::SECTION, agent).pin_path,
        }
    }
}

/// The table of a section, by `read`; everything at its default if it is absent or reported.
fn section<T: Default>(
    report: &mut Report,
    root: Table,
    section: &'static Section,
    read: fn(&mut Report, Table) -> T,
) -> T {
    let Some(table) = root.table(report, section.name) else { return T::default() };
    table.check_keys(report, section);
    read(report, table)
}

fn interfaces(report: &mut Report, root: Table) -> Vec<Interface> {
    if !root.entries.contains_key("interface") {
        return vec![Interface::default()];
    }
    let mut interfaces = Vec::new();
    for table in root.tables(report, "interface") {
        table.check_keys(report, &schema::interface::SECTION);
        let default = Interface::default();
        let interface = Interface {
            name: table.parsed(report, &schema::interface::NAME).unwrap_or(default.name),
            netns: table.parsed(report, &schema::interface::NETNS).unwrap_or(default.netns),
            xdp: table.choice(report, &schema::interface::XDP).unwrap_or(default.xdp),
        };
        if interfaces.iter().any(|other: &Interface| other.is_same_place(&interface)) {
            let fault = Fault::InterfaceTwice(interface.name.to_string());
            report.add(table.offset_of("name"), table.path("name"), fault);
        } else {
            interfaces.push(interface);
        }
    }
    let namespaces = distinct(interfaces.iter().map(|interface| &interface.netns));
    if namespaces.len() > MAX_NAMESPACES as usize {
        report.add(root.offset_of("interface"), "interface.netns", Fault::TooMany(MAX_NAMESPACES));
    }
    if interfaces.is_empty() {
        report.add(root.offset_of("interface"), "interface", Fault::Empty("interface"));
    }
    interfaces
}

fn sets(report: &mut Report, root: Table) -> Vec<Set<ListSpec>> {
    let mut sets: Vec<Set<ListSpec>> = Vec::new();
    for table in root.tables(report, "set") {
        table.check_keys(report, &schema::set::SECTION);
        if !table.entries.contains_key("name") {
            report.add(table.offset, table.path("name"), Fault::Missing);
        }
        let name = table.parsed(report, &schema::set::NAME);
        if let Some(name) = &name
            && sets.iter().any(|other| other.name == *name)
        {
            let fault = Fault::NameTaken { what: "set", name: name.clone() };
            report.add(table.offset_of("name"), table.path("name"), fault);
        }
        let networks = lists::required(report, table, MEMBERS);
        sets.push(Set { name: name.unwrap_or_default(), networks });
    }
    if sets.len() > MAX_SETS as usize {
        report.add(root.offset_of("set"), "set", Fault::TooMany(MAX_SETS));
    }
    sets
}

fn api(report: &mut Report, table: Table) -> Api<At<GroupName>> {
    use schema::api as keys;
    let default = Api::<Gid>::default();
    let socket_access = Access {
        mode: table.parsed(report, &keys::SOCKET_MODE).unwrap_or(default.socket_access.mode),
        group: table.placed(report, &keys::SOCKET_GROUP),
    };
    let lookup_access = Access {
        mode: table.parsed(report, &keys::LOOKUP_SOCKET_MODE).unwrap_or(default.lookup_access.mode),
        group: table.placed(report, &keys::LOOKUP_SOCKET_GROUP),
    };
    let api = Api {
        socket: table.parsed(report, &keys::SOCKET).unwrap_or(default.socket),
        socket_access,
        lookup_socket: table.parsed(report, &keys::LOOKUP_SOCKET),
        lookup_access,
        http: table.parsed(report, &keys::HTTP),
        http_remote: table.flag(report, &keys::HTTP_REMOTE).unwrap_or(false),
        getsockopt: table.flag(report, &keys::GETSOCKOPT).unwrap_or(false),
    };
    if api.http.is_some_and(|http| !http.ip().is_loopback()) && !api.http_remote {
        let key = keys::HTTP.name;
        report.add(table.offset_of(key), table.path(key), Fault::NotLoopback);
    }
    if api.lookup_path() == api.socket {
        let key = keys::LOOKUP_SOCKET.name;
        report.add(table.offset_of(key), table.path(key), Fault::SameSocket);
    }
    api
}

fn log(report: &mut Report, table: Table) -> Log {
    let flows = table.choice(report, &schema::log::FLOWS);
    Log { flows: flows.unwrap_or(Log::default().flows), to: destination(report, table) }
}

fn destination(report: &mut Report, table: Table) -> Destination {
    let journald = table.choice(report, &schema::log::TO);
    let path = table.parsed(report, &schema::log::FILE);
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
    use schema::agent as keys;
    let default = Agent::default();
    Agent {
        pin_path: table.parsed(report, &keys::PIN_PATH).unwrap_or(default.pin_path),
        procfs_path: table.parsed(report, &keys::PROCFS_PATH).unwrap_or(default.procfs_path),
        netns_path: table.parsed(report, &keys::NETNS_PATH).unwrap_or(default.netns_path),
        max_flows: table.number(report, &keys::MAX_FLOWS).unwrap_or(default.max_flows),
        max_translated: table
            .number(report, &keys::MAX_TRANSLATED)
            .unwrap_or(default.max_translated),
        max_listeners: table.number(report, &keys::MAX_LISTENERS).unwrap_or(default.max_listeners),
        max_tlv_memory: table
            .number(report, &keys::MAX_TLV_MEMORY)
            .unwrap_or(default.max_tlv_memory),
        handshake_timeout: table
            .seconds(report, &keys::HANDSHAKE_TIMEOUT)
            .unwrap_or(default.handshake_timeout),
    }
}
