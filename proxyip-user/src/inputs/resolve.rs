//! From a [`Spec`] to a [`Config`].

use std::path::Path;

use nix::unistd::{Gid, Group};

use super::network_file::{NetworkFileError, read_networks};
use crate::config::networks::{NAMED, contradictions};
use crate::config::{
    Access, Api, At, Config, ConfigError, Fault, GroupName, ListSpec, Listener, NetworkFile,
    Networks, Origin, Problem, Set, Spec,
};

impl Config {
    /// Reads a TOML file, and what it points at on this host.
    ///
    /// # Errors
    /// Everything that is wrong with both.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let mut config = read(&text).map_err(|wrong| wrong.of(path))?;
        config.origin.file = Some(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        Ok(config)
    }

    /// Reads the text of a TOML file, and what it points at on this host.
    ///
    /// # Errors
    /// Everything that is wrong with both, in the order of the lines.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Problem>> {
        read(text).map_err(Wrong::into_problems)
    }
}

/// What is wrong with a text, and with what it points at.
struct Wrong {
    text: Vec<Problem>,
    host: Vec<Problem>,
}

impl Wrong {
    fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.text;
        problems.extend(self.host);
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    fn of(self, path: &Path) -> ConfigError {
        let (path, right) = (path.to_owned(), self.text.is_empty());
        let problems = self.into_problems();
        if right {
            ConfigError::Host { path, problems }
        } else {
            ConfigError::Wrong { path, problems }
        }
    }
}

fn read(text: &str) -> Result<Config, Wrong> {
    let (spec, text) = Spec::read(text);
    let mut host = Vec::new();
    let config = spec.map(|spec| resolve(&mut host, spec));
    match config {
        Some(config) if text.is_empty() && host.is_empty() => Ok(config),
        _ => Err(Wrong { text, host }),
    }
}

/// The configuration, with what this host has of it; the rest is among the problems.
fn resolve(problems: &mut Vec<Problem>, spec: Spec) -> Config {
    Config {
        interfaces: spec.interfaces,
        listeners: spec.listeners.into_iter().map(|spec| listener(problems, spec)).collect(),
        sets: spec.sets.into_iter().map(|spec| set(problems, spec)).collect(),
        api: api(problems, spec.api),
        log: spec.log,
        agent: spec.agent,
        origin: Origin::default(),
    }
}

fn listener(problems: &mut Vec<Problem>, spec: Listener<ListSpec>) -> Listener {
    let trusted = networks(problems, &spec.trusted);
    if let (Some(at), Some(file)) = (&spec.trusted.file, &trusted.file)
        && file.networks.is_empty()
        && !spec.trusted.has_items
    {
        problems.push(at.place.problem(Fault::NobodyTrusted(file.path.clone())));
    }
    let (allow, deny) = (networks(problems, &spec.allow), networks(problems, &spec.deny));
    check_contradictions(problems, &spec, &allow, &deny);
    Listener {
        name: spec.name,
        ports: spec.ports,
        trusted,
        untrusted: spec.untrusted,
        versions: spec.versions,
        unknown: spec.unknown,
        headerless: spec.headerless,
        hand_off: spec.hand_off,
        header_timeout: spec.header_timeout,
        allow,
        deny,
        denied: spec.denied,
        mark: spec.mark,
    }
}

fn set(problems: &mut Vec<Problem>, spec: Set<ListSpec>) -> Set {
    Set { name: spec.name, networks: networks(problems, &spec.networks) }
}

fn networks(problems: &mut Vec<Problem>, spec: &ListSpec) -> Networks {
    let file = spec.file.as_ref().and_then(|At { value: path, place }| {
        let read = read_networks(path)
            .map(|networks| NetworkFile { path: path.clone(), networks: networks.into() });
        let wrong = |NetworkFileError(faults)| {
            problems.extend(faults.into_iter().map(|fault| place.problem(fault)));
        };
        read.map_err(wrong).ok()
    });
    Networks { written: spec.written.clone(), file }
}

/// Reports networks that are in both lists because of a file.
fn check_contradictions(
    problems: &mut Vec<Problem>,
    spec: &Listener<ListSpec>,
    allow: &Networks,
    deny: &Networks,
) {
    let written = contradictions(&allow.written, &deny.written);
    let mut both = contradictions(allow.iter(), deny.iter());
    // The text's own are reported with the text.
    both.retain(|network| !written.contains(network));
    let in_file = spec.deny.file.as_ref().map_or(spec.deny.place, |file| file.place);
    for network in both.iter().take(NAMED) {
        let place = if deny.written.contains(network) { spec.deny.place } else { in_file };
        problems.push(place.problem(Fault::AllowedAndDenied(**network)));
    }
    if both.len() > NAMED {
        let place = if deny.written.is_empty() { in_file } else { spec.deny.place };
        problems.push(place.problem(Fault::More(both.len() - NAMED)));
    }
}

fn api(problems: &mut Vec<Problem>, spec: Api<At<GroupName>>) -> Api {
    Api {
        socket: spec.socket,
        socket_access: access(problems, spec.socket_access),
        lookup_socket: spec.lookup_socket,
        lookup_access: access(problems, spec.lookup_access),
        http: spec.http,
        http_remote: spec.http_remote,
        getsockopt: spec.getsockopt,
    }
}

fn access(problems: &mut Vec<Problem>, spec: Access<At<GroupName>>) -> Access {
    let group = spec.group.and_then(|At { value, place }| {
        group(value).map_err(|fault| problems.push(place.problem(fault))).ok()
    });
    Access { mode: spec.mode, group }
}

/// By number, or by name from the group database.
fn group(name: GroupName) -> Result<Gid, Fault> {
    match name {
        GroupName::Number(gid) => Ok(gid),
        GroupName::Name(name) => match Group::from_name(&name) {
            Ok(Some(group)) => Ok(group.gid),
            _ => Err(Fault::NoSuchGroup(name)),
        },
    }
}
