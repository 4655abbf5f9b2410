//! `proxyip check --diff`

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use proxyip_api::config::ConfigJson;
use proxyip_api::difference::{Change, Difference, How, Items};
use proxyip_api::status::InterfaceJson;
use serde_json::Value;

use super::exit::Exit;
use super::output::print;
use super::reading::ask;
use crate::client::{self, ClientError};
use crate::config::schema::json_schema;
use crate::config::{Config, DEFAULT_SOCKET};
use crate::json;
use crate::lifecycle::lock;
use crate::preflight::difference::{InForce, of_reload, of_start};

/// Items of a list that are shown.
const SHOWN: usize = 5;

/// What was asked for.
pub(super) struct Asked<'a> {
    /// The file; `None` for the one that the agent reads.
    pub(super) file: Option<&'a Path>,
    /// The agent's socket, instead of the file's.
    pub(super) socket: Option<&'a Path>,
    pub(super) json: bool,
}

/// Prints the difference; how the command ends.
pub(super) fn run(asked: &Asked) -> Result<Exit> {
    let difference = difference(asked)?;
    if asked.json {
        print([&json::to_vec(&difference)?[..], b"\n"].concat())?;
    } else {
        print(text(&difference))?;
    }
    Ok(if difference.is_one() { Exit::Different } else { Exit::Same })
}

fn difference(&Asked { file, socket, .. }: &Asked) -> Result<Difference> {
    let Some(file) = file else {
        let socket = socket.unwrap_or(DEFAULT_SOCKET.as_ref());
        let in_force = in_force(socket)
            .context("--config names no file, and the file of a running agent is not known")?;
        let file = in_force
            .config
            .file
            .clone()
            .map(PathBuf::from)
            .context("the agent was started without a file: name one with --config")?;
        return Ok(of_reload(&file, Config::from_file(&file)?, &in_force));
    };
    let config = Config::from_file(file)?;
    let socket = socket.unwrap_or(&config.api.socket);
    match in_force(socket) {
        Ok(in_force) => Ok(of_reload(file, config, &in_force)),
        Err(error) if is_nobody(&error) => match lock::holder_of(&config.agent.pin_path) {
            None => Ok(of_start(file, &config)),
            Some(holder) => Err(error.context(format!(
                "process {holder} runs on {}, and does not answer: name its socket with --socket",
                config.agent.pin_path.display()
            ))),
        },
        Err(error) => Err(error),
    }
}

/// What the agent on this socket says.
fn in_force(socket: &Path) -> Result<InForce> {
    ask(async {
        let (status, _) = client::get(socket, "/v1/status").await?;
        let config = client::get::<ConfigJson>(socket, "/v1/config").await;
        let (config, _) = config.context("the agent does not say what is in force")?;
        Ok(InForce { config, status })
    })
}

/// Whether no agent runs there. One that may not be asked is none of these.
fn is_nobody(error: &anyhow::Error) -> bool {
    let kind = match error.downcast_ref() {
        Some(ClientError::Unreachable { cause, .. }) => cause.kind(),
        _ => return false,
    };
    matches!(kind, ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

/// A line each: what is refused, what changes, what is attached to and left, what has drifted.
fn text(difference: &Difference) -> String {
    let Difference { agent, file, changes, attach, leave, refused, drift, notes } = difference;
    let mut text = String::new();
    let mut line = |kind: &str, sentence: &dyn std::fmt::Display| {
        writeln!(text, "{kind}: {sentence}").expect("a String grows");
    };
    let refusal = if agent.is_some() { "a reload is refused" } else { "a start fails" };
    for sentence in refused {
        line(refusal, sentence);
    }
    for change in changes {
        line(&place(change), &how(change));
    }
    for one in attach {
        line("attach", &interface(one));
    }
    for one in leave {
        line("leave", &interface(one));
    }
    for one in drift {
        line("drift", one);
    }
    for note in notes {
        line("note", note);
    }
    if !difference.is_one() {
        let agent = agent.map(|pid| format!("process {pid}")).unwrap_or_default();
        writeln!(text, "no difference between {file} and what is in force ({agent})")
            .expect("a String grows");
    }
    text
}

fn interface(InterfaceJson { name, netns, .. }: &InterfaceJson) -> String {
    if netns == "host" { name.clone() } else { format!("{name} in {netns}") }
}

/// As in the file, with the name of an entry.
fn place(Change { section, name, key, .. }: &Change) -> String {
    let name = name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
    match key {
        Some(key) if name.is_empty() => format!("{section}.{key}"),
        Some(key) => format!("{section}{name}: {key}"),
        None => format!("{section}{name}"),
    }
}

fn how(Change { section, key, how, .. }: &Change) -> String {
    let is_entry = key.is_none();
    match how {
        How::Added { to } if is_entry => format!("added{}", settings(section, to)),
        How::Removed { .. } if is_entry => "removed".into(),
        How::Added { to } => format!("added: {}", value(to)),
        How::Removed { from } => format!("removed: {}", value(from)),
        How::Changed { from, to } => format!("{} -> {}", value(from), value(to)),
        How::Items { added, removed } => {
            let parts = [("added", added), ("removed", removed)];
            let given = parts.iter().filter(|(_, items)| items.count > 0);
            given.map(|(word, all)| format!("{word} {}", items(all))).collect::<Vec<_>>().join("; ")
        }
    }
}

/// The keys of a new entry that are not at their defaults.
fn settings(section: &str, entry: &Value) -> String {
    let schema = json_schema();
    let known = &schema["properties"][section]["items"]["properties"];
    let keys = entry.as_object().into_iter().flatten();
    let set =
        keys.filter(|(key, value)| *key != "name" && known[*key].get("default") != Some(value));
    let set: Vec<_> = set.map(|(key, one)| format!("{key} {}", value(one))).collect();
    if set.is_empty() { String::new() } else { format!(": {}", set.join("; ")) }
}

fn value(value: &Value) -> String {
    match value {
        Value::Array(list) => {
            let first = list.iter().take(SHOWN).map(self::value).collect();
            items(&Items { count: list.len(), first })
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn items(Items { count, first }: &Items) -> String {
    let named = first.join(", ");
    match count - first.len() {
        0 => named,
        more => format!("{count}: {named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(key: Option<&str>, how: How) -> Change {
        let (section, name) = ("listener".into(), Some("web".into()));
        Change { section, name, key: key.map(str::to_owned), needs: "reload".into(), how }
    }

    #[test]
    fn each_change_is_a_line() {
        let entry = json!({"name": "web", "ports": [80, 443], "trusted": ["10.0.0.0/8"], "hand_off": "auto", "denied": "drop"});
        let few = Items { count: 2, first: vec!["1".into(), "2".into()] };
        let many = Items { count: 9, first: vec!["3".into()] };
        for (key, how, expected) in [
            (None, How::Removed { from: entry.clone() }, "listener \"web\": removed"),
            (
                None,
                How::Added { to: entry },
                "listener \"web\": added: denied drop; ports 80, 443; trusted 10.0.0.0/8",
            ),
            (
                Some("hand_off"),
                How::Changed { from: "auto".into(), to: "observe".into() },
                "listener \"web\": hand_off: auto -> observe",
            ),
            (
                Some("ports"),
                How::Items { added: few, removed: many },
                "listener \"web\": ports: added 1, 2; removed 9: 3 and 8 more",
            ),
        ] {
            let difference = Difference {
                agent: Some(7),
                changes: vec![change(key, how)],
                ..Difference::default()
            };
            assert_eq!(text(&difference), format!("{expected}\n"));
        }
    }

    #[test]
    fn no_difference_is_said() {
        let difference = Difference {
            agent: Some(7),
            file: "/etc/proxyip.toml".into(),
            notes: vec!["so".into()],
            ..Difference::default()
        };
        let expected =
            "note: so\nno difference between /etc/proxyip.toml and what is in force (process 7)\n";
        assert_eq!(text(&difference), expected);
    }
}
