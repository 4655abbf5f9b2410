//! Changes while the agent runs: another configuration, and files of networks.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use proxyip_common::settings::{Fallback, PlacedPort};
use tokio::sync::watch;

use super::files::{NotTaken, Tried, all_or_each};
use super::remark::Remark;
use super::sets::Sets;
use super::writer::Writer;
use crate::config::Config;
use crate::desired::active::{Active, Current};
use crate::tables::drained::DrainedPorts;
use crate::tables::fill::Level;
use crate::tables::maps::FlowMap;

/// What can be changed while the agent runs.
#[derive(Clone)]
pub struct Control(pub(super) Arc<Inner>);

pub(super) struct Inner {
    /// Locked while anything changes.
    writer: Mutex<Writer>,
    publish: watch::Sender<Arc<Active>>,
    pub(super) sets: Sets,
    pub(super) flows: FlowMap,
    stale: Remark,
    mixed: Remark,
}

impl Control {
    /// Puts the first configuration in force.
    pub(crate) fn start(
        mut writer: Writer,
        config: &Config,
        sets: Sets,
        flows: FlowMap,
    ) -> Result<Self> {
        free_sets(&mut writer, (config, &sets));
        sets.pin_anew(config, &writer.set_places(config)?)?;
        let places = writer.apply(config)?;
        sets.unpin_others(config)?;
        let orphans = writer.orphans(&places);
        let active = Active::new(config.clone(), places).with_orphans(orphans);
        let (publish, _) = watch::channel(Arc::new(active));
        let writer = Mutex::new(writer);
        let (stale, mixed) = (Remark::default(), Remark::default());
        Ok(Self(Arc::new(Inner { writer, publish, sets, flows, stale, mixed })))
    }

    /// The configuration in force.
    #[must_use]
    pub fn current(&self) -> Current {
        self.0.publish.subscribe()
    }

    /// Whether lists of networks are older than their files.
    pub(crate) fn stale(&self) -> Remark {
        self.0.stale.clone()
    }

    /// How full the tries and the places of sets are, now and later.
    pub(crate) fn fill_levels(&self) -> Vec<Level> {
        self.writer().fill_levels()
    }

    /// The ports that are drained, now and later.
    pub(crate) fn drained(&self) -> DrainedPorts {
        self.writer().drained()
    }

    /// Whether the maps have parts of two configurations.
    pub(crate) fn mixed(&self) -> Remark {
        self.0.mixed.clone()
    }

    /// Makes sure that the agent can put another configuration in force while it runs.
    ///
    /// # Errors
    /// Names each key that it cannot change, and what to do.
    pub fn check(&self, config: &Config) -> Result<()> {
        check_unchanged(&self.active().config, config)
    }

    /// Puts another configuration in force. May block.
    ///
    /// # Errors
    /// If it changes what only a restart can change, or the kernel does not take it. Then the old one stays, unless
    /// [`Control::mixed`] has a sentence.
    pub fn reload(&self, config: &Config) -> Result<()> {
        self.put_in_force(config)?;
        self.0.stale.set(None);
        Ok(())
    }

    fn put_in_force(&self, config: &Config) -> Result<()> {
        let mut writer = self.writer();
        let old = self.active();
        check_unchanged(&old.config, config)?;
        let sets = &self.0.sets;
        free_sets(&mut writer, (config, sets));
        // Pins may fail. A pin that is there too early matches nothing.
        let applied = writer
            .set_places(config)
            .and_then(|places| sets.pin(config, &places))
            .and_then(|()| writer.apply(config));
        self.note_mixture(&writer);
        let in_force = if applied.is_ok() { config } else { &old.config };
        if let Err(error) = sets.unpin_others(in_force) {
            tracing::error!("a set that is not in force stays pinned: {error:#}");
        }
        self.publish(&writer, config, applied?);
        Ok(())
    }

    /// If the maps have parts of two configurations, puts the one in force that was before. May block.
    ///
    /// # Errors
    /// If that fails again; the maps stay as they are.
    pub fn mend(&self) -> Result<()> {
        if self.0.mixed.sentence().is_none() {
            return Ok(());
        }
        let mut writer = self.writer();
        let config = self.active().config.clone();
        let applied = writer.apply(&config);
        self.note_mixture(&writer);
        self.publish(&writer, &config, applied?);
        tracing::info!("the maps have one configuration again: the one that was in force before");
        Ok(())
    }

    fn note_mixture(&self, writer: &Writer) {
        let sentence = writer.mixed().map(|error| {
            format!(
                "the kernel's maps have parts of two configurations, because a change was refused half way and cannot be \
                 undone; the agent tries again every second: {error:#}"
            )
        });
        self.0.mixed.set(sentence);
    }

    fn publish(&self, writer: &Writer, config: &Config, places: Vec<u16>) {
        let orphans = writer.orphans(&places);
        let active = Active::new(config.clone(), places).with_orphans(orphans);
        self.0.publish.send_replace(Arc::new(active));
    }

    /// Publishes anew which rules belong to listeners that the configuration does not have.
    pub(super) fn publish_orphans(&self, writer: &Writer) {
        let active = self.active();
        self.publish(writer, &active.config, active.places().to_vec());
    }

    /// Puts what is in these files of networks now in force. May block.
    ///
    /// # Errors
    /// Names the files that are wrong or that the kernel does not take. What was in them stays in force.
    pub fn read_files_again(&self, changed: &[PathBuf]) -> Result<(), NotTaken> {
        let not_taken = all_or_each(changed, &|files| self.try_files(files));
        // Once, and at the end: whoever asks meanwhile must not hear that all is well.
        self.0.stale.set(not_taken.sentence());
        if not_taken.is_nothing() { Ok(()) } else { Err(not_taken) }
    }

    fn try_files(&self, changed: &[PathBuf]) -> Tried {
        let again = self.active().config.with_files_read_again(changed);
        let refused = self.put_in_force(&again.config).err();
        let why = again.faults.0.iter().map(ToString::to_string).collect();
        Tried { wrong: NotTaken { files: again.wrong, why }, refused }
    }

    /// Pins the programs of the sets for the namespaces that are served now, and removes the others. May block.
    ///
    /// # Errors
    /// If a program cannot be loaded or pinned.
    pub(crate) fn follow_namespaces(&self) -> Result<()> {
        let writer = self.writer();
        let config = &self.active().config;
        self.0.sets.unpin_others(config)?;
        self.0.sets.pin(config, &writer.set_places(config)?)
    }

    /// Removes lists that were replaced. May block.
    ///
    /// # Errors
    /// If the maps cannot be written.
    pub fn sweep(&self) -> Result<()> {
        self.writer().sweep()
    }

    /// Has connections to a port translated for a while, if a listener guards it.
    ///
    /// # Errors
    /// If the maps cannot be written.
    pub(crate) fn begin_fallback(&self, at: PlacedPort, fallback: Fallback) -> Result<()> {
        let mut writer = self.writer();
        match self.active().guarding(at.port) {
            Some((place, _)) => writer.begin_fallback(place, at, fallback),
            None => Ok(()),
        }
    }

    /// Forgets fallbacks that are over.
    ///
    /// # Errors
    /// If the maps cannot be written.
    pub(crate) fn end_fallbacks(&self, ended: &[PlacedPort]) -> Result<()> {
        let mut writer = self.writer();
        ended.iter().try_for_each(|at| writer.end_fallback(*at))
    }

    /// Whether a named set has the client.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub(crate) fn is_in_a_set(&self, client: IpAddr) -> Result<bool> {
        self.writer().is_in_a_set(client)
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        // A thread that panicked left the maps as they were, or with lists that nobody reads.
        self.0.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn active(&self) -> Arc<Active> {
        Arc::clone(&self.0.publish.borrow())
    }
}

/// Frees places of sets that have left.
fn free_sets(writer: &mut Writer, (config, sets): (&Config, &Sets)) {
    if let Err(error) = writer.free_sets(config, || sets.watched()) {
        tracing::error!(
            "places of sets that have left stay taken until the next reload: {error:#}"
        );
    }
}

/// Refuses changes that only a new agent can make.
fn check_unchanged(old: &Config, new: &Config) -> Result<()> {
    let sentences = old.fixed(new);
    ensure!(sentences.is_empty(), "nothing was changed: {}", sentences.join("; "));
    Ok(())
}
