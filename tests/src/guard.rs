//! The configuration that a test gives to the agent.

use std::fmt::Write;

use crate::hand_off::HandOff;
use crate::net::address;
use crate::scratch::Scratch;

/// One listener on the server's `eth0`, named `web` unless said, and others after it if they are added.
#[derive(Clone, Debug)]
pub struct Guard {
    name: String,
    ports: Vec<u16>,
    trusted: Vec<String>,
    interface: String,
    listener: String,
    sets: String,
    api: String,
    log: String,
    agent: String,
    flows: &'static str,
    others: String,
}

impl Guard {
    /// Guards these ports; the load balancer's two private addresses are trusted.
    #[must_use]
    pub fn ports(ports: &[u16]) -> Self {
        let trusted = [format!("{}/32", address::BALANCER), format!("{}/128", address::BALANCER6)];
        let (ports, trusted) = (ports.to_vec(), trusted.to_vec());
        let name = "web".to_owned();
        let (interface, listener, sets, api, log, agent, others) = Default::default();
        let flows = "json";
        Self { name, ports, trusted, interface, listener, sets, api, log, agent, flows, others }
    }

    /// Gives the listener this name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Adds the listeners of another one after this one's; its other tables do not count.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        self.others += &other.listeners();
        self
    }

    /// Guards this port too.
    #[must_use]
    pub fn also_guarding(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }

    /// Trusts this network instead.
    #[must_use]
    pub fn trusting(mut self, network: &str) -> Self {
        self.trusted = vec![network.to_owned()];
        self
    }

    /// Trusts this network too.
    #[must_use]
    pub fn also_trusting(mut self, network: &str) -> Self {
        self.trusted.push(network.to_owned());
        self
    }

    /// Gives the listener this `hand_off`.
    #[must_use]
    pub fn hand_off(self, hand_off: HandOff) -> Self {
        self.setting(&format!("hand_off = \"{}\"", hand_off.setting()))
    }

    /// Allows the clients of these networks, which have commas between them.
    #[must_use]
    pub fn allow(self, networks: &str) -> Self {
        self.setting(&format!("allow = {networks:?}"))
    }

    /// Denies the clients of these networks, which have commas between them.
    #[must_use]
    pub fn deny(self, networks: &str) -> Self {
        self.setting(&format!("deny = {networks:?}"))
    }

    /// How denied clients are treated: `reset`, `drop` or `mark`.
    #[must_use]
    pub fn denied(self, what: &str) -> Self {
        self.setting(&format!("denied = {what:?}"))
    }

    /// Has the flow log in the format of VPC flow logs.
    #[must_use]
    pub fn vpc_log(mut self) -> Self {
        self.flows = "vpc";
        self
    }

    /// Has no flow log.
    #[must_use]
    pub fn without_flow_log(mut self) -> Self {
        self.flows = "off";
        self
    }

    /// Has the flow log in JSON, as it has unless something else is said.
    #[must_use]
    pub fn json_log(mut self) -> Self {
        self.flows = "json";
        self
    }

    /// A further line of the `[[listener]]` table.
    #[must_use]
    pub fn setting(mut self, line: &str) -> Self {
        writeln!(self.listener, "{line}").expect("a String grows");
        self
    }

    /// A named set with this line, `cidrs` or `file`.
    #[must_use]
    pub fn set(mut self, name: &str, line: &str) -> Self {
        writeln!(self.sets, "[[set]]\nname = {name:?}\n{line}\n").expect("a String grows");
        self
    }

    /// A further line of the `[[interface]]` table.
    #[must_use]
    pub fn interface_setting(mut self, line: &str) -> Self {
        writeln!(self.interface, "{line}").expect("a String grows");
        self
    }

    /// A further line of the `[api]` table.
    #[must_use]
    pub fn api_setting(mut self, line: &str) -> Self {
        writeln!(self.api, "{line}").expect("a String grows");
        self
    }

    /// A further line of the `[log]` table.
    #[must_use]
    pub fn log_setting(mut self, line: &str) -> Self {
        writeln!(self.log, "{line}").expect("a String grows");
        self
    }

    /// A further line of the `[agent]` table.
    #[must_use]
    pub fn agent_setting(mut self, line: &str) -> Self {
        writeln!(self.agent, "{line}").expect("a String grows");
        self
    }

    fn listeners(&self) -> String {
        let Self { name, ports, trusted, listener, others, .. } = self;
        format!(
            "[[listener]]\nname = {name:?}\nports = {ports:?}\ntrusted = {trusted:?}\n{listener}\n{others}"
        )
    }

    /// The configuration file.
    #[must_use]
    pub fn toml(&self, scratch: &Scratch) -> String {
        let Self { interface, sets, api, log, agent, flows, .. } = self;
        let listeners = self.listeners();
        let socket = scratch.path("api.sock").display().to_string();
        let pin_path = scratch.pin_path().display().to_string();
        format!(
            "[[interface]]\nname = \"eth0\"\n{interface}\n\
             {listeners}{sets}\
             [api]\nsocket = {socket:?}\n{api}\n\
             [log]\nflows = {flows:?}\n{log}\n\
             [agent]\npin_path = {pin_path:?}\n{agent}"
        )
    }
}
