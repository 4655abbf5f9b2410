//! Keeps the kernel programs' view of a network namespace current.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use aya::maps::{Array, MapData};
use proxyip_common::settings::{MAX_NAMESPACES, NamespaceSettings};
use zerocopy::FromZeros as _;

use super::routes;
use crate::bpf::pod::Raw;
use crate::clock::now_ns;
use crate::host::nat::Rules;
use crate::host::netstat;
use crate::host::routes::{Routes, read};
use crate::host::seen::Seen;
use crate::host::sysctl;
use crate::tables::maps::open_owned;
use crate::tables::owners::claim;
use crate::tables::routes::RouteTrie;
use crate::tables::secrets::EpochLength;

/// The maps that say what namespaces are like.
pub(crate) struct Tables {
    settings: Array<MapData, Raw<NamespaceSettings>>,
    routes: RouteTrie,
}

impl Tables {
    pub(crate) fn open(pin_path: &Path) -> Result<Self> {
        let settings = open_owned(pin_path, &claim!("NAMESPACES"))?;
        Ok(Self { settings, routes: RouteTrie::open(pin_path)? })
    }

    /// The entry of `NAMESPACES` that has this cookie. Without one, a free entry or one that no namespace of `taken` has:
    /// the entry of a program that is still attached must not change.
    ///
    /// # Errors
    /// If all entries are taken, or the map cannot be read.
    pub(crate) fn place(&self, cookie: u64, taken: &[u64]) -> Result<u32> {
        let mut cookies = Vec::new();
        for index in 0..MAX_NAMESPACES {
            cookies.push(self.settings(index)?.cookie);
        }
        place_among(&cookies, cookie, taken)
            .with_context(|| format!("there are more than {MAX_NAMESPACES} network namespaces"))
    }

    fn settings(&self, index: u32) -> Result<NamespaceSettings> {
        let Raw(settings) = self.settings.get(&index, 0).context("the settings cannot be read")?;
        Ok(settings)
    }

    fn set(&mut self, index: u32, settings: NamespaceSettings) -> Result<()> {
        let set = self.settings.set(index, Raw(settings), 0);
        set.context("the settings cannot be written")
    }
}

fn place_among(cookies: &[u64], cookie: u64, taken: &[u64]) -> Option<u32> {
    let places = [
        cookies.iter().position(|there| *there == cookie),
        cookies.iter().position(|there| *there == 0),
        cookies.iter().position(|there| !taken.contains(there)),
    ];
    places.into_iter().flatten().next().and_then(|index| u32::try_from(index).ok())
}

/// Writes one namespace's settings and routes.
pub(crate) struct Watcher {
    index: u32,
    cookie: u64,
    epoch_length: EpochLength,
    timestamp_offset: u32,
    written: Option<NamespaceSettings>,
    rules: Rules,
    routes: Routes,
    seen: Arc<Seen>,
}

impl Watcher {
    /// Writes the settings before anything is attached. `index` is the namespace's place in `NAMESPACES`. The calling
    /// thread is in the namespace, here and below.
    pub(crate) fn new(
        tables: &mut Tables,
        index: u32,
        cookie: u64,
        epoch_length: EpochLength,
    ) -> Result<Self> {
        let old = tables.settings(index)?;
        // The clock of timestamps must not jump when an agent takes over.
        let timestamp_offset =
            if old.cookie == cookie { old.timestamp_offset } else { getrandom::u32()? };
        let mut watcher = Self {
            index,
            cookie,
            epoch_length,
            timestamp_offset,
            written: None,
            rules: Rules::default(),
            routes: routes::left_by_another(&tables.routes.of(index)),
            seen: Arc::new(Seen::new(cookie, index)),
        };
        watcher.count_overflows();
        watcher.write(tables)?;
        Ok(watcher)
    }

    /// What is seen of the namespace, from now on.
    pub(crate) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    /// Whether the namespace was found to have nftables.
    pub(crate) const fn has_nftables(&self) -> bool {
        self.rules.has_nftables()
    }

    /// Notes how often an accept queue was full.
    pub(crate) fn count_overflows(&self) {
        self.seen.set_overflows(netstat::listen_overflows());
    }

    /// Writes what has changed of the settings.
    pub(crate) fn write(&mut self, tables: &mut Tables) -> Result<()> {
        let sysctls = sysctl::read()?;
        self.seen.set_fin_timeout(sysctls.fin_timeout);
        let now_ns = now_ns()?;
        let nat_since_ns =
            if sysctls.has_conntrack { self.rules.since_ns(now_ns) } else { self.rules.none() };
        let mut settings = NamespaceSettings {
            cookie: self.cookie,
            epoch_ns: self.epoch_length.get(),
            timestamp_offset: self.timestamp_offset,
            nat_since_ns,
            ..sysctls.settings
        };
        if !self.routes.is_empty() {
            settings.flags |= NamespaceSettings::ROUTE_MSS;
        }
        self.seen.set_flags(settings.flags);
        self.seen.set_nat_since_ns(settings.nat_since_ns);
        if self.written != Some(settings) {
            // Should writing fail, nobody knows what is there.
            self.written = None;
            tables.set(self.index, settings)?;
            tracing::debug!(?settings, "settings of a network namespace");
            self.written = Some(settings);
        }
        Ok(())
    }

    /// Has the settings written at the next look, whatever was written before.
    pub(crate) fn write_anew(&mut self) {
        self.written = None;
    }

    /// Writes what has changed of the routes, and of the settings.
    pub(crate) fn write_routes(&mut self, tables: &mut Tables) -> Result<()> {
        let left = routes::write(&mut tables.routes.of(self.index), &mut self.routes, &read()?)?;
        self.seen.set_routes(self.routes.len());
        let before = self.seen.set_routes_left(left);
        if before == 0 && left > 0 {
            tracing::error!("{left} routes find no room in the kernel programs' table");
        }
        self.write(tables)
    }

    /// Leaves nothing of the namespace in the maps, so that another one may have its place. The calling thread may be
    /// anywhere.
    pub(crate) fn leave(mut self, tables: &mut Tables) -> Result<()> {
        let mut routes = tables.routes.of(self.index);
        routes::write(&mut routes, &mut self.routes, &Routes::default())?;
        tables.set(self.index, NamespaceSettings::new_zeroed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_gets_its_own_place_or_one_that_nobody_needs() {
        for (there, cookie, taken, expected) in [
            (&[7, 8, 0][..], 8, &[8][..], Some(1)),
            (&[7, 8, 0], 9, &[9], Some(2)),
            // 7 is of a namespace that has ended, or left the configuration.
            (&[8, 7, 6], 9, &[8, 9], Some(1)),
            (&[8, 7], 9, &[7, 8, 9], None),
        ] {
            assert_eq!(place_among(there, cookie, taken), expected, "{there:?} {cookie}");
        }
    }
}
