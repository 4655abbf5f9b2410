//! `proxyip detach`: lets translated connections end, then removes everything.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::maps::MapData;
use nix::net::if_::if_nameindex;
use proxyip_common::flow::{FlowKey, FlowRecord};

use crate::bpf::pins::{self, map_directory};
use crate::bpf::pod::Raw;
use crate::bpf::strays;
use crate::bpf::{attached, loader, other_layouts};
use crate::config::Agent;
use crate::host::namespace::Namespace;
use crate::host::roots;
use crate::reap::destroy::Destroyer;
use crate::reap::partial_headers::end_begun;
use crate::tables::maps::open_in;
use crate::tables::owners::Readable;
use crate::tables::ports::Ports;
use crate::tables::translations::TranslationMap;

/// The maps that are read here, or whose types are relied on.
const READ: [&str; 4] = ["PORTS", "PARTIAL_HEADERS", "TRANSLATIONS", "FLOWS"];
/// How often to look whether connections have ended.
const PERIOD: Duration = Duration::from_millis(250);
/// How often the operator hears which connections are left.
const WORD: Duration = Duration::from_secs(5);

/// Detaches everything and removes all pins, and nothing else. Translated connections may go on for `patience`; then
/// the agent ends the rest. `tell` gets sentences for the operator.
///
/// # Errors
/// If the directory is not on a BPF file system or holds foreign files; or if a pin cannot be removed.
pub fn detach(pin_path: &Path, patience: Duration, mut tell: impl FnMut(String)) -> Result<()> {
    if !attached::check(pin_path)? {
        return left_over(pin_path);
    }
    let deadline = Instant::now() + patience;
    let drains: Vec<_> = layouts(pin_path, &mut tell)?
        .into_iter()
        .map(|maps| Drain { pin_path, maps, deadline })
        .collect();
    // No new connections in any of them from here on.
    drains.iter().try_for_each(Drain::begin)?;
    drains.iter().try_for_each(|drain| drain.finish(&mut tell))?;
    attached::remove_all(pin_path)?;
    left_over(pin_path)
}

/// Says where the host's processes and named network namespaces are seen.
///
/// # Errors
/// If they are not seen there.
pub fn look_at_host(procfs_path: &Path, netns_path: &Path) -> Result<()> {
    let (procfs_path, netns_path) = (procfs_path.to_owned(), netns_path.to_owned());
    let agent = Agent { procfs_path, netns_path, ..Agent::default() };
    roots::check(&agent)?;
    roots::follow(&agent);
    Ok(())
}

/// Whether anything is pinned in a directory.
///
/// # Errors
/// If it cannot be read.
pub fn has_pins(pin_path: &Path) -> Result<bool> {
    Ok(!pins::list(pin_path)?.is_empty())
}

/// Says where else on this host proxyip has pins, if it has.
#[must_use]
pub fn elsewhere(pin_path: &Path) -> Option<String> {
    sentence_of(&pins::others(pin_path))
}

fn sentence_of(others: &[PathBuf]) -> Option<String> {
    let first = others.first()?.display();
    let all: Vec<_> = others.iter().map(|path| path.display().to_string()).collect();
    Some(format!(
        "proxyip has other pins on this host, below {} (`proxyip detach --pin-path {first}`)",
        all.join(", ")
    ))
}

/// Makes sure that the interfaces of this network namespace have no programs of proxyip whose pins are hidden or gone.
/// Those of an agent with another pin path are its own.
///
/// # Errors
/// Names the programs, and what to do.
pub fn left_over(pin_path: &Path) -> Result<()> {
    // On a thread of its own: it may be called on one of a runtime.
    thread::scope(|scope| {
        let look = || {
            let interfaces = if_nameindex().context("the interfaces cannot be listed")?;
            let names: Vec<_> =
                interfaces.iter().map(|one| one.name().to_string_lossy().into_owned()).collect();
            strays::check_lost(pin_path, &names.iter().map(|name| &**name).collect::<Vec<_>>())
        };
        scope.spawn(look).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The directories of maps, of this version's layout and of others, whose connections can be waited for.
fn layouts(pin_path: &Path, tell: &mut impl FnMut(String)) -> Result<Vec<PathBuf>> {
    let mut directories = vec![map_directory(pin_path)];
    directories.extend(other_layouts::directories(pin_path)?);
    directories.retain(|directory| directory.join("TRANSLATIONS").exists());
    directories.retain(|directory| match loader::compare(directory, &READ) {
        Ok(()) => true,
        Err(error) => {
            tell(format!(
                "warning: translated connections of {} cannot be waited for, and hang if there are any: {error:#}",
                directory.display()
            ));
            false
        }
    });
    Ok(directories)
}

/// Waits for the end of the translated connections of one layout.
struct Drain<'a> {
    pin_path: &'a Path,
    /// Where the maps are pinned.
    maps: PathBuf,
    deadline: Instant,
}

impl Drain<'_> {
    /// No new ones from here on.
    fn begin(&self) -> Result<()> {
        Ports::open_in(&self.maps)?.retire_all()?;
        // The kernel would take the rest of a header for the payload.
        end_begun(self.pin_path, &self.maps)
    }

    /// Comes back when no connection is translated any more.
    fn finish(&self, tell: &mut impl FnMut(String)) -> Result<()> {
        let translations = TranslationMap::open_in(&self.maps)?;
        let deadline = self.deadline;
        let mut word = Instant::now();
        loop {
            let living: HashSet<FlowKey> = translations.living().collect::<Result<_>>()?;
            let now = Instant::now();
            if living.is_empty() {
                return Ok(());
            }
            if now >= deadline {
                return self.cut(&living, tell);
            }
            if now >= word {
                let (count, left) = (living.len(), (deadline - now).as_secs_f64().ceil());
                tell(format!(
                    "translated connections: {count}; waiting for their ends, {left} s at most"
                ));
                word = now + WORD;
            }
            thread::sleep(PERIOD.min(deadline - now));
        }
    }

    /// Ends connections, each by its name.
    fn cut(&self, connections: &HashSet<FlowKey>, tell: &mut impl FnMut(String)) -> Result<()> {
        let flows: Readable<aya::maps::HashMap<MapData, Raw<FlowKey>, Raw<FlowRecord>>> =
            open_in(&self.maps, "FLOWS")?;
        let mut destroyers = HashMap::new();
        for key in connections {
            let destroyer = match destroyers.entry(key.namespace) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(destroyer(self.pin_path, key.namespace)?),
            };
            // First the name: the flow is forgotten when its socket ends.
            let client = match flows.get(&Raw(*key), 0) {
                Ok(Raw(record)) => record.client.to_string(),
                Err(_) => "not known any more".into(),
            };
            let ended = match destroyer {
                Some(destroyer) => destroyer.destroy(key),
                None => Err(io::ErrorKind::NotFound.into()),
            };
            let outcome = match ended {
                Ok(()) => "is cut".into(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => "has ended".into(),
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    "will hang: the kernel, built without CONFIG_INET_DIAG_DESTROY, cannot cut it"
                        .into()
                }
                Err(error) => format!("will hang: it cannot be cut: {error}"),
            };
            tell(format!("warning: {} -> {} (client {client}) {outcome}", key.peer, key.local));
        }
        Ok(())
    }
}

/// For the namespace with this cookie, if it still exists.
fn destroyer(pin_path: &Path, cookie: u64) -> Result<Option<Destroyer>> {
    let namespace = attached::namespace(pin_path, cookie);
    let open = |namespace: Namespace| namespace.run(|| Ok(Destroyer::open()?));
    namespace.map(open).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_pins_are_named() {
        assert_eq!(sentence_of(&[]), None);
        let others = ["/sys/fs/bpf/blue", "/sys/fs/bpf/green"].map(PathBuf::from);
        let sentence = sentence_of(&others).unwrap();
        let expected = "below /sys/fs/bpf/blue, /sys/fs/bpf/green \
                        (`proxyip detach --pin-path /sys/fs/bpf/blue`)";
        assert!(sentence.ends_with(expected), "{sentence}");
    }
}
