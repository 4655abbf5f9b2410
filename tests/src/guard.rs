//! The configuration that a test gives to the agent.

use std::fmt::Write;

use crate::net::address;
use crate::scratch::Scratch;

/// One listener named `web` on the server's `eth0`.
#[derive(Clone, Debug)]
pub struct Guard {
    ports: Vec<u16>,
    trusted: Vec<String>,
    settings: String,
}

impl Guard {
    /// Guards these ports; the load balancer's two private addresses are trusted.
    #[must_use]
    pub fn ports(ports: &[u16]) -> Self {
        let trusted = [format!("{}/32", address::BALANCER), format!("{}/128", address::BALANCER6)];
        Self { ports: ports.to_vec(), trusted: trusted.to_vec(), settings: String::new() }
    }

    /// Trusts this address instead.
    #[must_use]
    pub fn trusting(mut self, address: &str) -> Self {
        self.trusted = vec![address.to_owned()];
        self
    }

    /// A further line of the `[[listener]]` table.
    #[must_use]
    pub fn setting(mut self, line: &str) -> Self {
        writeln!(self.settings, "{line}").expect("a String grows");
        self
    }

    /// The configuration file.
    pub(crate) fn toml(&self, scratch: &Scratch) -> String {
        let Self { ports, trusted, settings } = self;
        let socket = scratch.path("api.sock").display().to_string();
        let pin_path = scratch.pin_path().display().to_string();
        format!(
            "[[interface]]\nname = \"eth0\"\n\n\
             [[listener]]\nname = \"web\"\nports = {ports:?}\ntrusted = {trusted:?}\n{settings}\n\
             [api]\nsocket = {socket:?}\n\n\
             [log]\nflows = \"json\"\n\n\
             [agent]\npin_path = {pin_path:?}\n"
        )
    }
}
