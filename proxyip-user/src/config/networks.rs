//! Lists of networks: `KEY`, which has them in the configuration itself, and `KEY_file`, which names a file of them.

use std::collections::HashSet;
use std::path::PathBuf;

use ipnet::IpNet;
use toml::de::DeValue;

use super::network_file::read_networks;
use super::problem::{Fault, NetworkFileError};
use super::table::{Report, Table};
use super::{Config, Listener, distinct, value};

/// How many networks that contradict each other are named.
const NAMED: usize = 5;

/// A list of networks: `KEY` and `KEY_file` of a listener or set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Those in the configuration itself, each once.
    pub written: Vec<IpNet>,
    /// Those in a file.
    pub file: Option<NetworkFile>,
}

/// A file of networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFile {
    /// Its absolute path.
    pub path: PathBuf,
    /// What was in it when it was read, each once.
    pub networks: Vec<IpNet>,
}

impl Networks {
    /// All of them; one that is written and in the file comes twice.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.written.iter().chain(self.file.iter().flat_map(|file| &file.networks))
    }

    /// Whether the configuration has such a list, though perhaps an empty one.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        !self.written.is_empty() || self.file.is_some()
    }
}

impl From<Vec<IpNet>> for Networks {
    fn from(written: Vec<IpNet>) -> Self {
        Self { written, file: None }
    }
}

/// The two keys of a list.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub(super) written: &'static str,
    pub(super) file: &'static str,
}

pub(super) const TRUSTED: Keys = Keys { written: "trusted", file: "trusted_file" };
pub(super) const ALLOW: Keys = Keys { written: "allow", file: "allow_file" };
pub(super) const DENY: Keys = Keys { written: "deny", file: "deny_file" };
pub(super) const MEMBERS: Keys = Keys { written: "cidrs", file: "file" };

/// Reads a list that need not be there.
pub(super) fn optional(report: &mut Report, table: Table, keys: Keys) -> Networks {
    let written = written(report, table, keys.written);
    Networks { written, file: file(report, table, keys.file) }
}

/// Reads a list of which at least one key must be there.
pub(super) fn required(report: &mut Report, table: Table, keys: Keys) -> Networks {
    if !table.entries.contains_key(keys.file) {
        if !table.entries.contains_key(keys.written) {
            report.add(table.offset, table.path(keys.written), Fault::NoList(keys.file));
        } else if !has_items(table, keys.written) {
            let offset = table.offset_of(keys.written);
            report.add(offset, table.path(keys.written), Fault::Empty("network"));
        }
    }
    optional(report, table, keys)
}

/// Reads `trusted` and `trusted_file`, which must have a network.
pub(super) fn trusted(report: &mut Report, table: Table) -> Networks {
    let trusted = required(report, table, TRUSTED);
    if let Some(file) = trusted.file.as_ref().filter(|file| file.networks.is_empty())
        && !has_items(table, TRUSTED.written)
    {
        let fault = Fault::NobodyTrusted(file.path.clone());
        report.add(table.offset_of(TRUSTED.file), table.path(TRUSTED.file), fault);
    }
    trusted
}

/// Reports networks that are in both lists.
pub(super) fn check_contradictions(
    report: &mut Report,
    table: Table,
    allow: &Networks,
    deny: &Networks,
) {
    let both = contradictions(allow, deny);
    for network in both.iter().take(NAMED) {
        let key = if deny.written.contains(network) { DENY.written } else { DENY.file };
        report.add(table.offset_of(key), table.path(key), Fault::AllowedAndDenied(**network));
    }
    if both.len() > NAMED {
        let key = if deny.written.is_empty() { DENY.file } else { DENY.written };
        report.add(table.offset_of(key), table.path(key), Fault::More(both.len() - NAMED));
    }
}

fn contradictions<'n>(allow: &Networks, deny: &'n Networks) -> Vec<&'n IpNet> {
    let mut allowed: HashSet<_> = allow.iter().collect();
    // Each is reported once: hence the removal.
    deny.iter().filter(|network| allowed.remove(network)).collect()
}

impl Config {
    /// The same configuration with what is in its files of networks now.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn with_files_read_again(&self) -> Result<Self, NetworkFileError> {
        let mut config = self.clone();
        let mut faults = Vec::new();
        let mut read = |networks: &mut Networks| {
            let Some(file) = &mut networks.file else { return };
            match read_networks(&file.path) {
                Ok(networks) => file.networks = networks,
                Err(NetworkFileError(wrong)) => faults.extend(wrong),
            }
        };
        for listener in &mut config.listeners {
            let lists = [&mut listener.trusted, &mut listener.allow, &mut listener.deny];
            lists.into_iter().for_each(&mut read);
        }
        config.sets.iter_mut().for_each(|set| read(&mut set.networks));
        if faults.is_empty() {
            faults = config.listeners.iter().flat_map(disagreements).collect();
        }
        if faults.is_empty() { Ok(config) } else { Err(NetworkFileError(faults)) }
    }
}

/// What is wrong with files that are right by themselves.
fn disagreements(listener: &Listener) -> Vec<Fault> {
    let nobody = listener.trusted.iter().next().is_none();
    let nobody = listener.trusted.file.as_ref().filter(|_| nobody);
    let nobody = nobody.map(|file| Fault::NobodyTrusted(file.path.clone()));
    let both = contradictions(&listener.allow, &listener.deny).into_iter().take(NAMED);
    nobody.into_iter().chain(both.map(|network| Fault::AllowedAndDenied(*network))).collect()
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

fn file(report: &mut Report, table: Table, key: &str) -> Option<NetworkFile> {
    let path = table.absolute_path(report, key)?;
    match read_networks(&path) {
        Ok(networks) => Some(NetworkFile { path, networks }),
        Err(error) => {
            for fault in error.0 {
                report.add(table.offset_of(key), table.path(key), fault);
            }
            None
        }
    }
}
