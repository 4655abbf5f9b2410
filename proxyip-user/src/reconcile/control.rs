//! Changes while the agent runs: another configuration, files of networks, rules of commands.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use anyhow::{Result, ensure};
use ipnet::IpNet;
use proxyip_api::acl::{Decision, Disconnected, Origin, Rules, Verdict};
use proxyip_common::flow::{FlowKey, FlowRecord, Origin as ClientOrigin};
use tokio::sync::watch;

use super::acl::{Acl, AclError};
use super::sets::Sets;
use super::stale::StaleLists;
use super::writer::Writer;
use crate::config::{Config, Denied, Listener};
use crate::desired::active::{Active, Current};
use crate::desired::networks::otherwise;
use crate::desired::rules::{Part, part, rule_for, rules};
use crate::host::namespace::Namespace;
use crate::reap::destroy::Destroyer;
use crate::tables::drained::DrainedPorts;
use crate::tables::maps::FlowMap;

/// What can be changed while the agent runs.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    /// Locked while anything changes.
    writer: Mutex<Writer>,
    publish: watch::Sender<Arc<Active>>,
    sets: Sets,
    flows: FlowMap,
    /// With their cookies.
    namespaces: Vec<(u64, Namespace)>,
    stale: StaleLists,
}

impl Control {
    /// Puts the first configuration in force.
    pub(crate) fn start(
        mut writer: Writer,
        config: &Config,
        sets: Sets,
        flows: FlowMap,
        namespaces: Vec<(u64, Namespace)>,
    ) -> Result<Self> {
        sets.pin_anew(config, &writer.set_places(config)?)?;
        let places = writer.apply(config)?;
        sets.unpin_others(config)?;
        let (publish, _) = watch::channel(Arc::new(Active::new(config.clone(), places)));
        let writer = Mutex::new(writer);
        let stale = StaleLists::default();
        Ok(Self(Arc::new(Inner { writer, publish, sets, flows, namespaces, stale })))
    }

    /// The configuration in force.
    #[must_use]
    pub fn current(&self) -> Current {
        self.0.publish.subscribe()
    }

    /// Whether lists of networks are older than their files.
    pub(crate) fn stale(&self) -> StaleLists {
        self.0.stale.clone()
    }

    /// The ports that are drained, now and later.
    pub(crate) fn drained(&self) -> DrainedPorts {
        self.writer().drained()
    }

    /// Puts another configuration in force. May block.
    ///
    /// # Errors
    /// If it changes what only a restart can change, or the kernel does not take it. Then the old one stays.
    pub fn reload(&self, config: &Config) -> Result<()> {
        let mut writer = self.writer();
        let old = self.active();
        check_unchanged(&old.config, config)?;
        let sets = &self.0.sets;
        // Pins may fail. A pin that is there too early matches nothing.
        let applied = writer
            .set_places(config)
            .and_then(|places| sets.pin(config, &places))
            .and_then(|()| writer.apply(config));
        let in_force = if applied.is_ok() { config } else { &old.config };
        if let Err(error) = sets.unpin_others(in_force) {
            tracing::error!("a set that is not in force stays pinned: {error:#}");
        }
        self.0.publish.send_replace(Arc::new(Active::new(config.clone(), applied?)));
        self.0.stale.set(None);
        Ok(())
    }

    /// Puts what is in the files of networks now in force. May block.
    ///
    /// # Errors
    /// If they are wrong. Then what was in them stays in force.
    pub fn read_files_again(&self) -> Result<()> {
        let read = self.active().config.with_files_read_again();
        let done = read.map_err(Into::into).and_then(|config| self.reload(&config));
        if let Err(error) = &done {
            let sentence = "files of networks are not in force as they are now, but as they were";
            self.0.stale.set(Some(format!("{sentence}: {error:#}")));
        }
        done
    }

    /// Removes lists that were replaced. May block.
    ///
    /// # Errors
    /// If the maps cannot be written.
    pub fn sweep(&self) -> Result<()> {
        self.writer().sweep()
    }

    /// Has the listener's new connections translated, because the stack refuses handed-over ones. This holds until
    /// the agent is started again. A listener that has left since stays unchanged.
    ///
    /// False if somebody else writes just now: this runs on the thread that reads events, which must not wait for a
    /// reload.
    ///
    /// # Errors
    /// If the maps cannot be written.
    pub(crate) fn translate(&self, listener: &str) -> Result<bool> {
        let mut writer = match self.0.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(false),
        };
        if let Some((place, _)) = self.active().named(listener) {
            writer.set_stack_refuses(place)?;
        }
        Ok(true)
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        // A thread that panicked left the maps as they were, or with lists that nobody reads.
        self.0.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn active(&self) -> Arc<Active> {
        Arc::clone(&self.0.publish.borrow())
    }

    /// Does something with a listener.
    fn with<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Writer, u16, &Listener) -> Result<T, AclError>,
    ) -> Result<T, AclError> {
        let mut writer = self.writer();
        let active = self.active();
        match active.named(name) {
            Some((place, listener)) => act(&mut writer, place, listener),
            None => Err(AclError::NoListener {
                name: name.into(),
                known: active.config.listeners.iter().map(|one| one.name.clone()).collect(),
            }),
        }
    }
}

/// Refuses changes that only a new agent can make.
fn check_unchanged(old: &Config, new: &Config) -> Result<()> {
    for (key, same) in [
        ("[[interface]]", old.interfaces == new.interfaces),
        ("[api]", old.api == new.api),
        ("[log]", old.log == new.log),
        ("[agent]", old.agent == new.agent),
    ] {
        ensure!(
            same,
            "{key} has changed, which takes effect when the agent is restarted: nothing was changed"
        );
    }
    Ok(())
}

impl Acl for Control {
    fn rules(&self, listener: &str, which: Part) -> Result<Rules, AclError> {
        self.with(listener, |writer, place, listener| {
            let (rules, more) = part(listener, &writer.commands(place), which);
            Ok(Rules {
                listener: listener.name.clone(),
                otherwise: otherwise(listener),
                denied: listener.denied_label().into(),
                next: rules.last().filter(|_| more).map(|rule| rule.network),
                rules,
            })
        })
    }

    fn set(&self, listener: &str, network: IpNet, verdict: Verdict) -> Result<(), AclError> {
        self.with(listener, |writer, place, listener| {
            writer.command((place, listener), (network, Some(verdict)))?;
            let verb = verdict.label();
            tracing::info!("by command, listener {:?}: {verb} {network}", listener.name);
            Ok(())
        })
    }

    fn remove(&self, listener: &str, network: IpNet) -> Result<(), AclError> {
        self.with(listener, |writer, place, listener| {
            let rules = rules(listener, &writer.commands(place), |one| *one == network);
            let name = || listener.name.clone();
            let place_of = match rules.get(&network).map(|rule| &rule.origin) {
                Some(Origin::Command) => {
                    writer.command((place, listener), (network, None))?;
                    tracing::info!("by command, listener {:?}: remove {network}", listener.name);
                    return Ok(());
                }
                Some(Origin::File { file }) => file.display().to_string(),
                Some(Origin::Configuration) => "the configuration".into(),
                None => return Err(AclError::NoRule { listener: name(), network }),
            };
            Err(AclError::NotByCommand { listener: name(), network, place: place_of })
        })
    }

    fn test(&self, listener: &str, client: IpAddr) -> Result<Decision, AclError> {
        self.with(listener, |writer, place, listener| {
            let verdict = writer.judge(place, client)?;
            let rule = rule_for(listener, &writer.commands(place), client);
            let expected = rule.as_ref().map_or_else(|| otherwise(listener), |rule| rule.verdict);
            if expected != verdict {
                let error = anyhow::anyhow!(
                    "the kernel's maps say {verdict:?} of {client}, and the rules say {expected:?}: this is a \
                     fault to report"
                );
                return Err(error.into());
            }
            Ok(Decision { listener: listener.name.clone(), client, verdict, rule })
        })
    }

    fn disconnect(&self, listener: Option<&str>) -> Result<Vec<Disconnected>, AclError> {
        if let Some(name) = listener {
            self.with(name, |_, _, _| Ok(()))?;
        }
        let mut denied: BTreeMap<u64, Vec<(FlowKey, Disconnected)>> = BTreeMap::new();
        for flow in self.0.flows.all() {
            let (key, record) = flow?;
            let Some(name) = self.denies(&record)? else { continue };
            if listener.is_none_or(|listener| listener == name) {
                let ended = Disconnected {
                    listener: name,
                    client: record.client.0.to_socket_addr(),
                    peer: key.peer.0.to_socket_addr(),
                    local: key.local.0.to_socket_addr(),
                    error: None,
                };
                denied.entry(key.namespace).or_default().push((key, ended));
            }
        }
        let mut ended = Vec::new();
        for (cookie, connections) in denied {
            ended.extend(self.end(cookie, connections)?);
        }
        Ok(ended)
    }
}

impl Control {
    /// The name of the listener that would refuse the flow's client now.
    fn denies(&self, record: &FlowRecord) -> Result<Option<String>> {
        let writer = self.writer();
        let active = self.active();
        let Some(listener) = active.at(record.listener) else { return Ok(None) };
        let verdict = match ClientOrigin::from_u8(record.origin) {
            _ if listener.denied == Denied::Mark => Verdict::Allow,
            Some(ClientOrigin::Proxied) => {
                writer.judge(record.listener, record.client.0.to_socket_addr().ip())?
            }
            Some(ClientOrigin::Unknown) => otherwise(listener),
            Some(ClientOrigin::Local) | None => Verdict::Allow,
        };
        Ok((verdict == Verdict::Deny).then(|| listener.name.clone()))
    }

    /// Ends connections of one namespace.
    fn end(
        &self,
        cookie: u64,
        connections: Vec<(FlowKey, Disconnected)>,
    ) -> Result<Vec<Disconnected>> {
        let namespace = self.0.namespaces.iter().find(|(there, _)| *there == cookie);
        let Some((_, namespace)) = namespace else { return Ok(Vec::new()) };
        namespace.run(|| {
            let mut destroyer = Destroyer::open()?;
            let end = |(key, mut connection): (FlowKey, Disconnected)| match destroyer.destroy(&key)
            {
                // The connection has already ended.
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    connection.error =
                        Some("the kernel was built without CONFIG_INET_DIAG_DESTROY".into());
                    Some(connection)
                }
                Err(error) => {
                    connection.error = Some(error.to_string());
                    Some(connection)
                }
                Ok(()) => Some(connection),
            };
            Ok(connections.into_iter().filter_map(end).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_new_agent_can_change_is_refused() {
        let text = "[[listener]]\nports=[443]\ntrusted=['10.0.0.0/8']\n";
        let old = Config::from_toml(text).unwrap();
        for (more, key) in [
            ("[log]\nflows='vpc'\n", "[log]"),
            ("[[interface]]\nname='eth1'\n", "[[interface]]"),
            ("[agent]\nmax_flows=2048\n", "[agent]"),
            ("[api]\nsocket='/run/other.sock'\n", "[api]"),
        ] {
            let new = Config::from_toml(&format!("{text}{more}")).unwrap();
            let error = check_unchanged(&old, &new).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{key} has changed")), "{error}");
        }
        check_unchanged(&old, &Config::from_toml(&text.replace("443", "444")).unwrap()).unwrap();
    }
}
