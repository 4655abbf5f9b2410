//! What a running agent answers and logs.

use std::collections::BTreeMap;

use proxyip_api::acl::Rules;
use proxyip_api::flow::LiveFlow;
use proxyip_api::status::{ListenerJson, Status};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Agent, Answer, agent_binary};
use crate::command::attempt;
use crate::wait::eventually;

impl Agent<'_> {
    /// A command that asks this agent.
    #[must_use]
    pub fn ask(&self, arguments: &[&str]) -> Answer {
        let mut command = self.namespace.command(&agent_binary().display().to_string());
        command.args(arguments).env("PROXYIP_SOCKET", self.site.scratch.path("api.sock"));
        attempt(&mut command).into()
    }

    /// `proxyip ARGUMENTS --json`, parsed.
    ///
    /// # Panics
    /// When it fails or answers something else.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let answer = self.ask(&[arguments, &["--json"]].concat());
        assert_eq!(answer.code, 0, "proxyip {arguments:?} --json: {}", answer.stderr);
        serde_json::from_str(&answer.stdout)
            .unwrap_or_else(|error| panic!("proxyip {arguments:?} --json: {error}: {answer:?}"))
    }

    /// The numbers of one section of the status that are not 0: `counters`, `drops` or
    /// `left_to_kernel`.
    ///
    /// # Panics
    /// When the status does not have the section.
    #[must_use]
    pub fn numbers(&self, section: &str) -> BTreeMap<String, u64> {
        let status = self.status();
        let numbers = match section {
            "counters" => status.counters,
            "drops" => status.drops,
            "left_to_kernel" => status.left_to_kernel,
            other => panic!("the status has no numbers in `{other}`"),
        };
        numbers.into_iter().filter(|(_, n)| *n > 0).collect()
    }

    /// What the agent does and has done.
    #[must_use]
    pub fn status(&self) -> Status {
        self.json(&["status"])
    }

    /// The flows that are established now.
    #[must_use]
    pub fn flows(&self) -> Vec<LiveFlow> {
        self.json(&["flows"])
    }

    /// The rules of the listener `web`.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.json(&["acl", "list", "web"])
    }

    /// What the status says of the listener `web`.
    #[must_use]
    pub fn listener(&self) -> ListenerJson {
        self.status().listeners.swap_remove(0)
    }

    /// The hand-off of new connections to the listener `web`.
    #[must_use]
    pub fn new_hand_off(&self) -> String {
        self.listener().new_connections.hand_off.into_owned()
    }

    /// How many connections of the listener `web` were translated for this reason.
    #[must_use]
    pub fn translated_for(&self, reason: &str) -> u64 {
        let connections = self.listener().connections.into_iter();
        let translated = connections.filter(|row| row.hand_off == "translate");
        translated.filter(|row| row.reason.as_deref() == Some(reason)).map(|row| row.count).sum()
    }

    /// Waits until a line of its diagnostics contains `text`, and returns that line.
    pub fn wait_diagnostic(&self, text: &str) -> String {
        eventually(&format!("a diagnostic with `{text}`"), || {
            let lines = self.process.stderr();
            lines.lines().find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    /// One of the counters.
    #[must_use]
    pub fn counter(&self, label: &str) -> u64 {
        self.numbers("counters").get(label).copied().unwrap_or(0)
    }

    /// Waits until a counter has reached `at_least`.
    pub fn wait_counter(&self, label: &str, at_least: u64) {
        eventually(&format!("{label} >= {at_least}"), || {
            (self.counter(label) >= at_least).then_some(())
        });
    }

    /// The flow log so far.
    ///
    /// # Panics
    /// When a whole line is no JSON.
    #[must_use]
    pub fn flow_log(&self) -> Vec<Value> {
        let text = self.process.stdout();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("flow log: {error}: {line}"))
        };
        whole.lines().map(parse).collect()
    }

    /// The first line of the flow log that is a certain event of the connection with this peer.
    pub fn wait_event(&self, event: &str, peer: &str) -> Value {
        eventually(&format!("flow log: {event} of {peer}"), || {
            self.flow_log().into_iter().find(|line| line["event"] == event && line["peer"] == peer)
        })
    }
}
