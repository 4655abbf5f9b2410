//! The configuration that is in force, and the places of its listeners in the kernel's maps.

use std::sync::Arc;

use proxyip_api::finding::{Finding, FindingKind};
use tokio::sync::watch;

use crate::config::{Config, Listener};

/// A configuration in force.
///
/// A listener keeps its place while its name is in the configuration, even if everything else changes. Records of
/// flows and counters refer to the place.
#[derive(Clone, Debug)]
pub struct Active {
    /// The configuration.
    pub config: Config,
    /// Its [`Config::warnings`], and one for each of `orphans`.
    pub warnings: Vec<Finding>,
    /// Listeners that the configuration does not have, but commands have made rules for. With how many each has.
    pub orphans: Vec<(String, usize)>,
    /// The place of each listener, in the order of the configuration.
    places: Vec<u16>,
}

/// The configuration in force now, and a word when it changes.
pub type Current = watch::Receiver<Arc<Active>>;

impl Active {
    /// `places` are those of the configuration's listeners, in their order.
    #[must_use]
    pub fn new(config: Config, places: Vec<u16>) -> Self {
        assert_eq!(config.listeners.len(), places.len(), "each listener has a place");
        Self { warnings: config.warnings(), config, places, orphans: Vec::new() }
    }

    /// The same with rules of commands that wait for their listeners.
    #[must_use]
    pub(crate) fn with_orphans(mut self, orphans: Vec<(String, usize)>) -> Self {
        let warning = |(name, count): &(String, usize)| {
            let rules = if *count == 1 { "1 rule" } else { &format!("{count} rules") };
            let sentence = format!(
                "there is no listener {name:?}, but {rules} made by command for it: in force again when the configuration \
                 has the listener (`proxyip acl list --orphaned`, `proxyip acl remove`)"
            );
            Finding::new(FindingKind::RulesOrphaned, sentence)
        };
        self.warnings.extend(orphans.iter().map(warning));
        Self { orphans, ..self }
    }

    /// The place of each listener, in the order of the configuration.
    #[must_use]
    pub fn places(&self) -> &[u16] {
        &self.places
    }

    /// Listeners with their places, in the order of the configuration.
    pub fn listeners(&self) -> impl Iterator<Item = (u16, &Listener)> {
        self.places.iter().copied().zip(&self.config.listeners)
    }

    /// The listener at a place.
    #[must_use]
    pub fn at(&self, place: u16) -> Option<&Listener> {
        self.listeners().find_map(|(at, listener)| (at == place).then_some(listener))
    }

    /// The listener that guards a port, and its place.
    #[must_use]
    pub fn guarding(&self, port: u16) -> Option<(u16, &Listener)> {
        self.listeners().find(|(_, listener)| listener.ports.contains(&port))
    }

    /// The listener of a flow to this port, and its place. If none guards the port now, it is the one that the flow had.
    #[must_use]
    pub fn of_flow(&self, place: u16, port: u16) -> Option<(u16, &Listener)> {
        let own = self.at(place).map(|listener| (place, listener));
        let guards = |(_, listener): &(u16, &Listener)| listener.ports.contains(&port);
        own.filter(guards).or_else(|| self.guarding(port)).or(own)
    }

    /// The listener with a name, and its place.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<(u16, &Listener)> {
        self.listeners().find(|(_, listener)| listener.name == name)
    }
}

#[cfg(test)]
impl Active {
    /// In force for ever, the listeners in their order.
    pub(crate) fn constant(config: Config) -> Current {
        let places = (0u16..).zip(&config.listeners).map(|(place, _)| place).collect();
        watch::channel(Arc::new(Self::new(config, places))).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_of_the_listener_that_guards_its_port() {
        let text = "[[listener]]\nname='web'\nports=[443]\ntrusted=['10.0.0.0/8']\n\
                    [[listener]]\nname='mail'\nports=[25]\ntrusted=['10.0.0.0/8']\n";
        let active = Active::new(Config::from_toml(text).unwrap(), vec![4, 7]);
        let name = |place, port| {
            active.of_flow(place, port).map(|(place, one)| (place, one.name.as_str()))
        };
        assert_eq!(name(4, 443), Some((4, "web")));
        assert_eq!(name(4, 80), Some((4, "web")), "it guarded this port, too");
        assert_eq!(name(4, 25), Some((7, "mail")), "the port moved, or the names were swapped");
        assert_eq!(name(0, 443), Some((4, "web")), "it was called otherwise");
        assert_eq!(name(0, 80), None);
    }
}
