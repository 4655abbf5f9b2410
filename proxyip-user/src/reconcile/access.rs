//! Questions about rules, and changes of them by command.

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use proxyip_api::acl::{Decision, Disconnected, MAX_DISCONNECTED, Origin, Rules, Verdict};
use proxyip_common::flow::{FlowKey, FlowRecord, Origin as ClientOrigin};

use super::acl::{Acl, AclError};
use super::control::Control;
use super::disconnect::Disconnecter;
use super::writer::Writer;
use crate::config::{Denied, Listener};
use crate::desired::networks::{Commands, otherwise};
use crate::desired::rules::{Part, part, rule_for, rules};

impl Acl for Control {
    fn rules(&self, listener: &str, which: Part) -> Result<Rules, AclError> {
        let of = |listener: &Listener, commands: &Commands, orphaned| {
            let (rules, more) = part(listener, commands, which);
            Rules {
                listener: listener.name.clone(),
                otherwise: otherwise(listener),
                denied: listener.denied_label().into(),
                orphaned,
                next: rules.last().filter(|_| more).map(|rule| rule.network),
                rules,
            }
        };
        if let Some((_, commands)) = self.orphaned(&self.writer(), listener) {
            let away = Listener { name: listener.into(), ..Listener::default() };
            return Ok(of(&away, &commands, true));
        }
        self.with(listener, |writer, place, listener| {
            Ok(of(listener, &writer.commands(place), false))
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
        if let Some(done) = self.remove_orphan(listener, network) {
            return done;
        }
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
        let mut disconnecter = Disconnecter::new(self.0.sets.served().now());
        let mut ended = Vec::new();
        for flow in self.0.flows.all() {
            let (key, record) = flow?;
            let Some(name) = self.denies(&key, &record)? else { continue };
            if listener.is_none_or(|listener| listener == name) {
                ended.extend(disconnecter.end(name, (&key, &record))?);
            }
            if ended.len() >= MAX_DISCONNECTED {
                break;
            }
        }
        tracing::info!("by command: {} connections of denied clients were ended", ended.len());
        Ok(ended)
    }
}

impl Control {
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

    /// The rules of commands for a listener that the configuration does not have, and its place.
    fn orphaned(&self, writer: &Writer, name: &str) -> Option<(u16, Commands)> {
        if self.active().named(name).is_some() {
            return None;
        }
        writer.orphaned(name)
    }

    /// Removes a rule of a listener that the configuration does not have; `None` if the configuration has it.
    fn remove_orphan(&self, name: &str, network: IpNet) -> Option<Result<(), AclError>> {
        let mut writer = self.writer();
        let (place, commands) = self.orphaned(&writer, name)?;
        if !commands.contains_key(&network) {
            return Some(Err(AclError::NoRule { listener: name.into(), network }));
        }
        let removed = writer.remove_orphan(place, network);
        self.publish_orphans(&writer);
        tracing::info!(
            "by command, listener {name:?}, which is not in the configuration: remove {network}"
        );
        Some(removed.map_err(Into::into))
    }

    /// The name of the listener that would refuse the flow's client now.
    fn denies(&self, key: &FlowKey, record: &FlowRecord) -> Result<Option<String>> {
        let writer = self.writer();
        let active = self.active();
        let of_flow = active.of_flow(record.listener, key.local.0.port());
        let Some((place, listener)) = of_flow else { return Ok(None) };
        let verdict = match ClientOrigin::from_u8(record.origin) {
            _ if listener.denied == Denied::Mark => Verdict::Allow,
            Some(ClientOrigin::Proxied) => {
                writer.judge(place, record.client.0.to_socket_addr().ip())?
            }
            Some(ClientOrigin::Unknown) => otherwise(listener),
            Some(ClientOrigin::Local) | None => Verdict::Allow,
        };
        Ok((verdict == Verdict::Deny).then(|| listener.name.clone()))
    }
}
