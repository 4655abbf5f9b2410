//! The rules that commands make: in force in the lists of their listeners, and kept while a listener is away.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use ipnet::IpNet;
use proxyip_api::acl::Verdict;

use super::listeners::Listeners;
use super::scopes::Scopes;
use crate::bpf::pod::Raw;
use crate::config::Listener;
use crate::desired::lists::Lists;
use crate::desired::networks::{Commands, covers_ipv4, value_of, verdict_of};
use crate::steps::step;

impl Listeners {
    /// Makes, changes or, with `None`, removes a rule of a command.
    pub(super) fn command(
        &mut self,
        scopes: &mut Scopes,
        (place, listener): (u16, &Listener),
        (network, verdict): (IpNet, Option<Verdict>),
    ) -> Result<()> {
        let before = self.commands.get(&place).cloned();
        let commands = self.commands.entry(place).or_default();
        match verdict {
            Some(verdict) => commands.insert(network, verdict),
            None => commands.remove(&network),
        };
        let done = self.renew(scopes, (place, listener), network);
        if done.is_err() {
            self.commands.insert(place, before.unwrap_or_default());
        }
        done
    }

    /// Updates the lists after a command for one network. Mostly this changes one element of a trie, without a search
    /// through a large list.
    fn renew(
        &mut self,
        scopes: &mut Scopes,
        (place, listener): (u16, &Listener),
        network: IpNet,
    ) -> Result<()> {
        let judges = self.in_force.get(&place).is_some_and(|there| there.policy.judges != 0);
        // Other networks depend on these.
        if !judges || network.prefix_len() == 0 || covers_ipv4(&network) {
            let before = (self.in_force.get(&place), scopes.next());
            let lists = Lists::of(listener, self.commands.get(&place), before);
            return self.exchange(scopes, place, lists);
        }
        let Some(there) = self.in_force.get_mut(&place).map(Arc::make_mut) else { return Ok(()) };
        let scope = there.policy.scope;
        match value_of(listener, &self.commands[&place], &network) {
            Some(value) => {
                if there.clients.contains_key(&network) {
                    scopes.clients.set(scope, &network, value)?;
                } else {
                    scopes.clients.add(scope, &network, value)?;
                }
                Arc::make_mut(&mut there.clients).insert(network, value);
            }
            None if there.clients.contains_key(&network) => {
                scopes.clients.unset(scope, &network)?;
                Arc::make_mut(&mut there.clients).remove(&network);
            }
            None => {}
        }
        Ok(())
    }

    /// What commands say of a listener's clients.
    pub(super) fn commands(&self, place: u16) -> Commands {
        self.commands.get(&place).cloned().unwrap_or_default()
    }

    /// The verdict of the kernel's maps on a client.
    pub(super) fn judge(&self, scopes: &Scopes, place: u16, client: IpAddr) -> Result<Verdict> {
        let Raw(words) =
            self.policies.get(&place.into(), 0).context("the policies cannot be read")?;
        let policy = words.policy(place).context("the policy is another listener's")?;
        let found = scopes.clients.get(policy.scope, client)?;
        Ok(verdict_of(found.unwrap_or(policy.otherwise)))
    }

    /// Forgets the rules that commands have made for the listener whose place this was.
    pub(super) fn forget_commands(&mut self, place: u16) {
        let count = self.commands.remove(&place).map_or(0, |commands| commands.len());
        if count > 0 {
            tracing::warn!(
                "{count} rules made by command are lost: every place for a listener is taken, and that of {:?}, which \
                 is not in the configuration, is given away",
                self.places.name(place)
            );
        }
    }

    /// Leaves nothing at a place but the rules of commands. They stay in the map, so that another agent finds them.
    fn keep_commands(&mut self, scopes: &mut Scopes, place: u16) -> Result<()> {
        let Some(there) = self.in_force.get(&place) else { return Ok(()) };
        match Lists::kept(&self.commands(place), (there, scopes.next())) {
            Some(kept) => self.exchange(scopes, place, kept),
            None => Ok(()),
        }
    }

    /// Writes lists if they are new, and has the kernel programs judge by them.
    fn exchange(&mut self, scopes: &mut Scopes, place: u16, lists: Lists) -> Result<()> {
        if lists.policy.scope == scopes.next() {
            scopes.write(lists.policy.scope, &lists.sources, &lists.clients)?;
            step();
        }
        self.enforce(scopes, place, Arc::new(lists))
    }

    /// The listeners that are at none of these places and have rules of commands, by name, with how many.
    pub(super) fn orphans(&self, places: &[u16]) -> Vec<(String, usize)> {
        let away = self.commands.iter().filter(|(place, _)| !places.contains(place));
        let with_rules = away.filter(|(_, commands)| !commands.is_empty());
        with_rules
            .map(|(place, commands)| (self.places.name(*place).to_owned(), commands.len()))
            .collect()
    }

    /// The place of a listener by its name, even if it is not in the configuration.
    pub(super) fn place_of(&self, name: &str) -> Option<u16> {
        self.places.place_of(name)
    }

    /// Removes a rule of a command from a listener that is not in the configuration.
    ///
    /// # Errors
    /// If the maps cannot be written.
    pub(super) fn remove_orphan(
        &mut self,
        scopes: &mut Scopes,
        place: u16,
        network: IpNet,
    ) -> Result<()> {
        let before = self.commands(place);
        let mut commands = before.clone();
        commands.remove(&network);
        let last = commands.is_empty();
        self.commands.insert(place, commands);
        let done =
            if last { self.forget(scopes, place) } else { self.keep_commands(scopes, place) };
        if done.is_err() {
            self.commands.insert(place, before);
        }
        done
    }
}
