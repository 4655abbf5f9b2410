//! A configuration from command-line flags.

use ipnet::IpNet;

use super::api::Api;
use super::listener::Listener;
use super::model::{Agent, Config, Interface, Log, Origin};
use super::places::{Names, Namespaces, Netns, Xdp};
use super::value::{PortRange, distinct, expand};

impl Config {
    /// One listener, with every other setting at its default. The lists must not be empty.
    #[must_use]
    pub fn from_arguments(
        interfaces: Vec<Names>,
        ports: &[PortRange],
        trusted: Vec<IpNet>,
    ) -> Self {
        let netns = Namespaces::One(Netns::Host);
        let interfaces = interfaces.into_iter().map(|name| Interface {
            name,
            netns: netns.clone(),
            xdp: Xdp::Off,
        });
        Self {
            interfaces: distinct(interfaces),
            listeners: vec![Listener {
                ports: expand(ports),
                trusted: distinct(trusted).into(),
                ..Listener::default()
            }],
            sets: Vec::new(),
            api: Api::default(),
            log: Log::default(),
            agent: Agent::default(),
            origin: Origin::default(),
        }
    }
}
