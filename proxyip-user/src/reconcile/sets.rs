//! The programs of named sets, pinned for rules of iptables.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use aya::programs::SocketFilter;

use crate::bpf::loader::Loader;
use crate::bpf::pins::{self, match_directory, successor};
use crate::bpf::programs::{SET, program_of};
use crate::bpf::set_programs::Watched;
use crate::config::{Config, Netns, Set};
use crate::host::served::{Member, Served};
use crate::steps::step;

/// Pins them.
pub(crate) struct Sets {
    loader: Arc<Loader>,
    pin_path: PathBuf,
    directory: PathBuf,
    served: Served,
}

impl Sets {
    pub(crate) fn new(loader: Arc<Loader>, pin_path: &Path, served: Served) -> Self {
        Self { loader, pin_path: pin_path.into(), directory: match_directory(pin_path), served }
    }

    pub(super) const fn served(&self) -> &Served {
        &self.served
    }

    /// The places that programs of sets look at, pinned ones and those of rules.
    pub(super) fn watched(&self) -> Result<Watched> {
        Watched::read(&self.pin_path, &mut self.loader.set(0, 0)?)
    }

    /// Pins a program for each set in each namespace that has none. A rule keeps the program that it was made with, which
    /// looks into the same maps.
    pub(crate) fn pin(&self, config: &Config, places: &[u16]) -> Result<()> {
        self.pin_those(config, places, |pin| !pin.exists())
    }

    /// The same, and replaces the programs of an agent before this one.
    pub(crate) fn pin_anew(&self, config: &Config, places: &[u16]) -> Result<()> {
        self.pin_those(config, places, |_| true)
    }

    fn pin_those(
        &self,
        config: &Config,
        places: &[u16],
        which: impl Fn(&Path) -> bool,
    ) -> Result<()> {
        let mut pinned = BTreeSet::new();
        let served = self.served.now();
        for (set, place) in config.sets.iter().zip(places) {
            for Member { entrance, seen } in served.iter() {
                let pin = self.pin_of(set, entrance.netns());
                ensure!(
                    pinned.insert(pin.clone()),
                    "two network namespaces have files of the same name, so that set {:?} would be pinned \
                     twice as {}",
                    set.name,
                    pin.display()
                );
                if which(&pin) {
                    self.replace(&pin, seen.place(), *place)?;
                }
            }
        }
        Ok(())
    }

    /// Removes the pins of all other sets.
    pub(crate) fn unpin_others(&self, config: &Config) -> Result<()> {
        let served = self.served.now();
        let pins_of = |set| served.iter().map(move |one| self.pin_of(set, one.entrance.netns()));
        let wanted: BTreeSet<_> = config.sets.iter().flat_map(pins_of).collect();
        for pin in pins::list(&self.directory)? {
            if !wanted.contains(&pin) {
                step();
                pins::discard(&pin)?;
                tracing::warn!("rules with {} match nothing any more", pin.display());
            }
        }
        Ok(())
    }

    fn pin_of(&self, set: &Set, netns: &Netns) -> PathBuf {
        self.directory.join(name(&set.name, netns))
    }

    fn replace(&self, pin: &Path, namespace: u32, place: u16) -> Result<()> {
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("{} cannot be made", self.directory.display()))?;
        let mut ebpf = self.loader.set(namespace, place)?;
        let program: &mut SocketFilter = program_of(&mut ebpf, SET)?;
        let new = successor(pin);
        pins::discard(&new)?;
        step();
        program.pin(&new).with_context(|| format!("{} cannot be pinned", new.display()))?;
        step();
        fs::rename(&new, pin).with_context(|| format!("{} cannot be pinned", pin.display()))
    }
}

/// The name of a set's pin: the set's own, and in other namespaces the namespace's behind it.
fn name(set: &str, netns: &Netns) -> String {
    match netns {
        Netns::Host => set.into(),
        Netns::Path(path) => {
            let namespace = path.file_name().unwrap_or_default().to_string_lossy();
            // Names on a BPF file system have no dots.
            format!("{set}@{}", namespace.replace('.', "-"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_name_set_and_namespace() {
        let netns = |path: &str| Netns::Path(path.into());
        for (netns, expected) in [
            (Netns::Host, "office"),
            (netns("/run/netns/blue"), "office@blue"),
            (netns("/run/netns/cni-1.2"), "office@cni-1-2"),
        ] {
            assert_eq!(name("office", &netns), expected);
        }
    }
}
