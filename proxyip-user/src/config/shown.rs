//! A configuration as JSON, with the keys of the schema.

use std::collections::BTreeMap;

use proxyip_api::config::ConfigJson;
use proxyip_common::settings::Denied;
use serde_json::{Map, Value};

use super::api::{Access, Api};
use super::listener::{Listener, Versions};
use super::model::{Agent, Config, Destination, Interface, Log, Set};
use super::networks::Networks;
use super::places::Xdp;
use super::schema::{self, Choice, Key, api as of_api, listener as of_listener, log as of_log};
use super::value::{interfaces, netns};

/// The keys of a table.
type Entry = Map<String, Value>;

impl Config {
    /// Every key at its value, and the networks of all files.
    #[must_use]
    pub fn shown(&self) -> ConfigJson {
        let config = [
            (schema::interface::SECTION.name, list(&self.interfaces, interface)),
            (schema::listener::SECTION.name, list(&self.listeners, listener)),
            (schema::set::SECTION.name, list(&self.sets, set)),
            (schema::api::SECTION.name, api(&self.api).into()),
            (schema::log::SECTION.name, log(&self.log).into()),
            (schema::agent::SECTION.name, agent(&self.agent).into()),
        ];
        ConfigJson {
            file: self.origin.file.as_ref().map(|path| path.display().to_string()),
            flags: self.origin.flags.iter().map(ToString::to_string).collect(),
            config: entry(config),
            networks: networks_of_files(self),
        }
    }
}

impl Interface {
    /// The entries of a configuration that was shown; what cannot be read is left out.
    #[must_use]
    pub fn all_shown(shown: &ConfigJson) -> Vec<Self> {
        let entries = shown.config.get(schema::interface::SECTION.name).and_then(Value::as_array);
        let read = |entry: &Value| {
            let name = interfaces(entry.get(schema::interface::NAME.name)?.as_str()?).ok()?;
            let netns = netns(entry.get(schema::interface::NETNS.name)?.as_str()?).ok()?;
            // An older agent has none.
            let shown = entry.get(schema::interface::XDP.name).and_then(Value::as_str);
            let xdp = schema::interface::XDP.kind.0.iter().find(|(label, _)| Some(*label) == shown);
            Some(Self { name, netns, xdp: xdp.map_or(Xdp::Off, |(_, xdp)| *xdp) })
        };
        entries.into_iter().flatten().filter_map(read).collect()
    }
}

fn networks_of_files(config: &Config) -> BTreeMap<String, Vec<ipnet::IpNet>> {
    let of_listeners =
        config.listeners.iter().flat_map(|one| [&one.trusted, &one.allow, &one.deny]);
    let lists = of_listeners.chain(config.sets.iter().map(|set| &set.networks));
    let files = lists.filter_map(|list| list.file.as_ref());
    files.map(|file| (file.path.display().to_string(), file.networks.to_vec())).collect()
}

fn list<T>(items: &[T], entry: fn(&T) -> Entry) -> Value {
    items.iter().map(|item| Value::Object(entry(item))).collect()
}

/// Keys without a value are left out.
fn entry<const N: usize>(keys: [(&str, Value); N]) -> Entry {
    let given = keys.into_iter().filter(|(_, value)| !value.is_null());
    given.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn interface(Interface { name, netns, xdp }: &Interface) -> Entry {
    use schema::interface as keys;
    entry([
        (keys::NAME.name, name.to_string().into()),
        (keys::NETNS.name, netns.to_string().into()),
        (keys::XDP.name, label(&keys::XDP, xdp)),
    ])
}

fn listener(listener: &Listener) -> Entry {
    use of_listener as keys;
    let Listener { trusted, allow, deny, denied, .. } = listener;
    let mark = (*denied == Denied::Mark).then_some(listener.mark);
    entry([
        (keys::NAME.name, listener.name.clone().into()),
        (keys::PORTS.name, listener.ports.clone().into()),
        (keys::TRUSTED.name, written(trusted)),
        (keys::TRUSTED_FILE.name, file(trusted)),
        (keys::UNTRUSTED.name, label(&keys::UNTRUSTED, &listener.untrusted)),
        (keys::ALLOW.name, written(allow)),
        (keys::ALLOW_FILE.name, file(allow)),
        (keys::DENY.name, written(deny)),
        (keys::DENY_FILE.name, file(deny)),
        (keys::DENIED.name, label(&keys::DENIED, denied)),
        (keys::MARK.name, mark.into()),
        (keys::VERSIONS.name, versions(listener.versions)),
        (keys::HAND_OFF.name, label(&keys::HAND_OFF, &listener.hand_off)),
        (keys::UNKNOWN.name, label(&keys::UNKNOWN, &listener.unknown)),
        (keys::HEADERLESS.name, label(&keys::HEADERLESS, &listener.headerless)),
        (keys::HEADER_TIMEOUT.name, listener.header_timeout.as_secs().into()),
    ])
}

fn versions(Versions { v1, v2 }: Versions) -> Value {
    let is_one = |number: u8| if number == 1 { v1 } else { v2 };
    let choices = of_listener::VERSIONS.kind.0.iter();
    choices.filter(|(_, number)| is_one(*number)).map(|(label, _)| *label).collect()
}

fn set(Set { name, networks }: &Set) -> Entry {
    use schema::set as keys;
    entry([
        (keys::NAME.name, name.clone().into()),
        (keys::CIDRS.name, written(networks)),
        (keys::FILE.name, file(networks)),
    ])
}

fn api(api: &Api) -> Entry {
    use of_api as keys;
    let mode = |access: &Access| Value::from(format!("{:04o}", access.mode));
    let group = |access: &Access| Value::from(access.group.map(|group| group.to_string()));
    entry([
        (keys::SOCKET.name, api.socket.display().to_string().into()),
        (keys::SOCKET_MODE.name, mode(&api.socket_access)),
        (keys::SOCKET_GROUP.name, group(&api.socket_access)),
        (keys::LOOKUP_SOCKET.name, api.lookup_path().display().to_string().into()),
        (keys::LOOKUP_SOCKET_MODE.name, mode(&api.lookup_access)),
        (keys::LOOKUP_SOCKET_GROUP.name, group(&api.lookup_access)),
        (keys::HTTP.name, api.http.map(|address| address.to_string()).into()),
        (keys::HTTP_REMOTE.name, api.http_remote.into()),
        (keys::GETSOCKOPT.name, api.getsockopt.into()),
    ])
}

fn log(log: &Log) -> Entry {
    use of_log as keys;
    let (path, to) = match &log.to {
        Destination::File(path) => (path.display().to_string().into(), Value::Null),
        Destination::Stdout => (Value::Null, label(&keys::TO, &false)),
        Destination::Journald => (Value::Null, label(&keys::TO, &true)),
    };
    entry([
        (keys::FLOWS.name, label(&keys::FLOWS, &log.flows)),
        (keys::FILE.name, path),
        (keys::TO.name, to),
    ])
}

fn agent(agent: &Agent) -> Entry {
    use schema::agent as keys;
    entry([
        (keys::PIN_PATH.name, agent.pin_path.display().to_string().into()),
        (keys::PROCFS_PATH.name, agent.procfs_path.display().to_string().into()),
        (keys::NETNS_PATH.name, agent.netns_path.display().to_string().into()),
        (keys::MAX_FLOWS.name, agent.max_flows.into()),
        (keys::MAX_TRANSLATED.name, agent.max_translated.into()),
        (keys::MAX_LISTENERS.name, agent.max_listeners.into()),
        (keys::MAX_TLV_MEMORY.name, agent.max_tlv_memory.into()),
        (keys::HANDSHAKE_TIMEOUT.name, agent.handshake_timeout.as_secs().into()),
    ])
}

fn written(Networks { written, .. }: &Networks) -> Value {
    if written.is_empty() {
        return Value::Null;
    }
    written.iter().map(|network| Value::from(network.to_string())).collect()
}

fn file(Networks { file, .. }: &Networks) -> Value {
    file.as_ref().map(|file| file.path.display().to_string()).into()
}

/// What the configuration calls a value.
fn label<T: PartialEq>(key: &Key<Choice<T>>, value: &T) -> Value {
    let choice = key.kind.0.iter().find(|(_, one)| one == value);
    choice.map(|(label, _)| *label).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::tests::{GOOD, LEAST};

    /// JSON's strings, numbers and lists are TOML's.
    fn toml(shown: &ConfigJson) -> String {
        let table = |header: String, entry: &Value| {
            let keys = entry.as_object().unwrap().iter();
            keys.fold(header, |text, (key, value)| format!("{text}{key} = {value}\n"))
        };
        let section = |(name, value): (&String, &Value)| match value.as_array() {
            Some(entries) => {
                entries.iter().map(|one| table(format!("[[{name}]]\n"), one)).collect()
            }
            None => table(format!("[{name}]\n"), value),
        };
        shown.config.iter().map(section).collect()
    }

    #[test]
    fn what_is_shown_is_a_configuration_with_the_same_meaning() {
        let schema = schema::json_schema();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        for text in [GOOD, LEAST] {
            let config = Config::from_toml(text).unwrap();
            let shown = config.shown();
            let json = Value::Object(shown.config.clone());
            assert!(validator.is_valid(&json), "{json}");
            assert_eq!(Interface::all_shown(&shown), config.interfaces);
            let again = Config::from_toml(&toml(&shown)).unwrap();
            assert_eq!(again.shown(), shown);
        }
    }

    #[test]
    fn what_has_a_default_is_shown_with_it() {
        let shown = Config::from_toml(LEAST).unwrap().shown();
        let schema = schema::json_schema();
        for section in ["api", "log", "agent"] {
            let keys = schema["properties"][section]["properties"].as_object().unwrap();
            for (key, described) in keys {
                if let Some(default) = described.get("default") {
                    assert_eq!(&shown.config[section][key], default, "{section}.{key}");
                }
            }
        }
        assert_eq!(
            shown.config["listener"],
            json!([{
                "name": "default", "ports": [443], "trusted": ["10.0.0.0/8"], "untrusted": "bypass",
                "denied": "reset", "versions": ["v1", "v2"], "hand_off": "auto", "unknown": "accept",
                "headerless": "reset", "header_timeout": 5,
            }])
        );
    }
}
