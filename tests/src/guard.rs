//! The configuration that a test gives to the agent.

use std::fmt::Write;

use crate::hand_off::HandOff;
use crate::net::address;
use crate::scratch::Scratch;

/// One listener named `web` on the server's `eth0`.
#[derive(Clone, Debug)]
pub struct Guard {
    ports: Vec<u16>,
    trusted: Vec<String>,
    interface: String,
    listener: String,
    log: String,
    agent: String,
}

impl Guard {
    /// Guards these ports; the load balancer's two private addresses are trusted.
    #[must_use]
    pub fn ports(ports: &[u16]) -> Self {
        let trusted = [format!("{}/32", address::BALANCER), format!("{}/128", address::BALANCER6)];
        let (ports, trusted) = (ports.to_vec(), trusted.to_vec());
        let (interface, listener, log, agent) = Default::default();
        Self { ports, trusted, interface, listener, log, agent }
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

    /// A further line of the `[[listener]]` table.
    #[must_use]
    pub fn setting(mut self, line: &str) -> Self {
        writeln!(self.listener, "{line}").expect("a String grows");
        self
    }

    /// A further line of the `[[interface]]` table.
    #[must_use]
    pub fn interface_setting(mut self, line: &str) -> Self {
        writeln!(self.interface, "{line}").expect("a String grows");
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

    /// The configuration file.
    pub(crate) fn toml(&self, scratch: &Scratch) -> String {
        let Self { ports, trusted, interface, listener, log, agent } = self;
        let socket = scratch.path("api.sock").display().to_string();
        let pin_path = scratch.pin_path().display().to_string();
        format!(
            "[[interface]]\nname = \"eth0\"\n{interface}\n\
             [[listener]]\nname = \"web\"\nports = {ports:?}\ntrusted = {trusted:?}\n{listener}\n\
             [api]\nsocket = {socket:?}\n\n\
             [log]\nflows = \"json\"\n{log}\n\
             [agent]\npin_path = {pin_path:?}\n{agent}"
        )
    }
}
