//! Attaching with links, so that it outlives the agent: every link is pinned.
//!
//! An agent that takes over puts its program into the pinned link atomically. While it runs, it holds the links too,
//! so that nobody detaches a program by removing its pin.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use aya_obj::generated::bpf_attach_type;

use super::calls::{self, Target};
use super::filters;
use super::in_place::{Change, InPlace};
use super::pins::{self, link_directory};
use super::programs::Loaded;
use crate::host::links::at_xdp;
use crate::host::namespace::{self, Living, Namespace};
use crate::steps::step;

/// Where a program belongs.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) target: Target<'a>,
    /// The index of the interface or the id of the cgroup.
    pub(crate) id: u64,
    pub(crate) attach_type: bpf_attach_type,
}

/// The pinned links, and those of them that this agent wants.
#[derive(Debug)]
pub(crate) struct Links {
    directory: PathBuf,
    /// The file system that the directory is on.
    device: u64,
    wanted: HashMap<PathBuf, Option<OwnedFd>>,
    /// What an agent before this one has pinned: the names, by their begin and the interface.
    before: HashMap<(String, u64), String>,
}

impl Links {
    pub(crate) fn new(pin_path: &Path) -> Result<Self> {
        let directory = link_directory(pin_path);
        fs::create_dir_all(&directory)
            .with_context(|| format!("{} cannot be made", directory.display()))?;
        let device = device(&directory);
        finish(&directory)?;
        let before = at_interfaces(&directory)?;
        Ok(Self { directory, device, wanted: HashMap::new(), before })
    }

    /// The name of the pin that an agent before this one has for a program at this interface, whatever the interface was
    /// called then. `begin` is how the name begins.
    pub(crate) fn pin_at(&self, begin: &str, index: u32) -> Option<String> {
        let name = self.before.get(&(begin.to_owned(), index.into()))?;
        let still = target(&self.directory.join(name)) == Some(index.into());
        still.then(|| name.clone())
    }

    /// Whether the pin of this name stands for a program at another interface.
    pub(crate) fn is_of_another(&self, name: &str, index: u32) -> bool {
        // A link whose interface is gone has none.
        let target = target(&self.directory.join(name)).filter(|target| *target != 0);
        target.is_some_and(|target| target != u64::from(index))
    }

    /// Whether what is pinned by this name is attached. The link of a device that is gone is not.
    pub(crate) fn is_attached(&self, name: &str) -> bool {
        let pin = self.pin(name);
        let target = match self.wanted.get(&pin) {
            Some(Some(held)) => calls::link(held.as_fd()).ok().map(|link| link.target),
            _ => target(&pin),
        };
        target.is_some_and(|target| target != 0)
    }

    /// Whether another file system has been mounted over that of the pins.
    pub(crate) fn is_hidden(&self) -> bool {
        device(&self.directory) != self.device
    }

    /// What to do then.
    pub(crate) fn hidden_sentence(&self) -> String {
        format!(
            "another file system has been mounted over the one with {}: umount it before the agent is restarted, which \
             would not find what is attached",
            self.directory.display()
        )
    }

    /// Sees to it that the program is attached there, and that the link is pinned by this name.
    pub(crate) fn ensure(
        &mut self,
        name: &str,
        program: &Loaded,
        place: &Place,
    ) -> Result<InPlace> {
        step();
        let pin = self.want(name);
        let link = match self.wanted.get(&pin) {
            Some(Some(held)) => Some(held.try_clone().context("a link cannot be kept")?),
            _ => pinned(&pin)?,
        };
        let kept = match &link {
            Some(link) => keep(link, program, place)?,
            None => None,
        };
        let is_kept = kept.is_some();
        let link = match link.filter(|_| is_kept) {
            Some(link) => link,
            None => attach(program, place)?,
        };
        let id = kept.as_ref().map_or_else(|| id(&link), |kept| Ok(kept.id))?;
        let pinned = !self.is_hidden() && put_in_place((&link, id), &pin)?;
        self.wanted.insert(pin, Some(link));
        let change = match (is_kept, pinned) {
            (true, false) => Change::None,
            (true, true) => Change::Pinned,
            (false, _) => Change::Attached,
        };
        let before = match kept {
            Some(kept) => kept.before,
            None => before(program.id, place)?.context("it was detached again at once")?,
        };
        Ok(InPlace { change, before })
    }

    /// The pin of a link or of a filter's program. From now on this agent wants it.
    pub(crate) fn want(&mut self, name: &str) -> PathBuf {
        let pin = self.pin(name);
        self.wanted.entry(pin.clone()).or_default();
        pin
    }

    fn pin(&self, name: &str) -> PathBuf {
        // Names on a BPF file system have no dots, names of interfaces no colons.
        self.directory.join(name.replace('.', ":"))
    }

    /// Detaches what is pinned by this name. This agent does not want it any more.
    ///
    /// # Errors
    /// If it cannot be detached, or its pin is hidden.
    pub(crate) fn release(&mut self, name: &str) -> Result<()> {
        ensure!(!self.is_hidden(), "{}", self.hidden_sentence());
        let pin = self.want(name);
        if let Some(filter) = filters::Place::from_name(&pins::name(&pin)) {
            filter.detach()?;
        }
        step();
        pins::discard(&pin)?;
        step();
        self.wanted.remove(&pin);
        Ok(())
    }

    /// What an agent before this one attached and this one does not want.
    pub(crate) fn others(&self) -> Result<Vec<PathBuf>> {
        let mut pins = pins::list(&self.directory)?;
        pins.retain(|pin| !self.wanted.contains_key(pin));
        super::attached::sort(&mut pins);
        Ok(pins)
    }
}

/// The file system that a directory is on, or would be on if it were made.
fn device(directory: &Path) -> u64 {
    let metadata = directory.ancestors().find_map(|path| fs::metadata(path).ok());
    metadata.map_or(0, |metadata| metadata.dev())
}

/// A link that is kept.
struct Kept {
    id: u32,
    /// The programs that run before it.
    before: Vec<u32>,
}

/// Keeps a link, which has this program then; `None` if that cannot be.
fn keep(link: &OwnedFd, program: &Loaded, place: &Place) -> Result<Option<Kept>> {
    let found = calls::link(link.as_fd()).context("a link cannot be read")?;
    // The interface may have been made anew, or another one may have its name now.
    if found.target != place.id {
        return Ok(None);
    }
    // An interface takes its links along to another namespace, where it keeps its number.
    let Some(before) = before(found.program, place)? else { return Ok(None) };
    if found.program == program.id {
        return Ok(Some(Kept { id: found.id, before }));
    }
    // A new link comes first, an older one stays where it is.
    let kept = before.is_empty() && calls::update(link.as_fd(), program.as_fd()).is_ok();
    Ok(kept.then_some(Kept { id: found.id, before }))
}

/// Gives pins their names that an agent was killed before it could.
fn finish(directory: &Path) -> Result<()> {
    for pin in pins::list(directory)? {
        let Some(name) = pins::succeeds(&pin) else { continue };
        let name = directory.join(name);
        if !name.exists() {
            fs::rename(&pin, &name)
                .with_context(|| format!("{} cannot be renamed", pin.display()))?;
        }
    }
    Ok(())
}

/// The names of the pinned links at interfaces, by their begin and the interface.
fn at_interfaces(directory: &Path) -> Result<HashMap<(String, u64), String>> {
    let mut found = HashMap::new();
    for pin in pins::list(directory)?.into_iter().filter(|pin| pins::succeeds(pin).is_none()) {
        let name = pins::name(&pin);
        let Some((begin, _)) = name.match_indices('-').nth(1).map(|(at, _)| name.split_at(at + 1))
        else {
            continue;
        };
        if let Some(target) = target(&pin) {
            found.insert((begin.to_owned(), target), name);
        }
    }
    Ok(found)
}

/// The pins of what is attached, or may be.
///
/// # Errors
/// If they cannot be read.
pub(crate) fn all_attached(pin_path: &Path) -> Result<Vec<PathBuf>> {
    let (mut pins, living) = (pins::list(&link_directory(pin_path))?, Living::default());
    pins.retain(|pin| is_attached(pin, &living));
    Ok(pins)
}

/// Whether what is pinned is attached to something. The link of a device that is gone is not, and neither is the filter of a
/// namespace that cannot be found.
pub(crate) fn is_attached(pin: &Path, living: &Living) -> bool {
    match filters::Place::from_name(&pins::name(pin)) {
        Some(filter) => living.has(filter.inode()),
        None => target(pin) != Some(0),
    }
}

/// The cookies of the namespaces that these pins are about. Those of filters have inode numbers in their names.
pub(crate) fn cookies<'a>(pins: impl IntoIterator<Item = &'a PathBuf>) -> BTreeSet<u64> {
    let pins = pins.into_iter().map(|pin| pins::name(pin));
    let (filters, links): (Vec<_>, Vec<_>) =
        pins.partition(|name| filters::Place::from_name(name).is_some());
    let number = |name: &String| pins::namespace(name);
    let inodes: BTreeSet<_> = filters.iter().filter_map(number).collect();
    let cookie = |inode| Namespace::with_inode(inode)?.run(namespace::cookie).ok();
    links.iter().filter_map(number).chain(inodes.into_iter().filter_map(cookie)).collect()
}

/// The interface or cgroup of a pinned link; `None` if the pin stands for no link.
fn target(pin: &Path) -> Option<u64> {
    let link = calls::pinned(pin).ok()?;
    calls::link(link.as_fd()).ok().map(|link| link.target)
}

fn attach(program: &Loaded, place: &Place) -> Result<OwnedFd> {
    calls::attach(program.as_fd(), place.target, place.attach_type)
        .context("the kernel does not attach the program")
}

/// The programs at an interface that run before this one; `None` if it is not there. Those of a cgroup all run, in whatever
/// order. At XDP there is one alone.
fn before(program: u32, place: &Place) -> Result<Option<Vec<u32>>> {
    let unknown = "the kernel does not say what is attached";
    let attached = match place.target {
        Target::Cgroup(_) => return Ok(Some(Vec::new())),
        Target::Xdp(index, _) => {
            let there = at_xdp(index).context(unknown)?;
            return Ok(there.contains(&program).then(Vec::new));
        }
        Target::Interface(_) => {
            calls::attached(place.target, place.attach_type).context(unknown)?
        }
    };
    let mut before = attached.programs;
    let at = before.iter().position(|other| *other == program);
    Ok(at.map(|at| {
        before.truncate(at);
        before
    }))
}

/// Pins a link in the place of an older one, if it is not pinned there already; `true` if it was not.
///
/// For a moment both may be attached, but never none. A packet that runs through both is handled twice: a translated
/// connection loses bytes. This comes only where another program came before ours, or a link was detached.
fn put_in_place((link, its): (&OwnedFd, u32), pin: &Path) -> Result<bool> {
    if let Some(there) = pinned(pin)?
        && id(&there)? == its
    {
        return Ok(false);
    }
    let context = || format!("{} cannot be pinned", pin.display());
    let directory = pin.parent().unwrap_or(pin);
    fs::create_dir_all(directory).with_context(context)?;
    let new = pins::successor(pin);
    pins::discard(&new)?;
    step();
    calls::pin(link.as_fd(), &new).with_context(context)?;
    step();
    fs::rename(&new, pin).with_context(context)?;
    Ok(true)
}

fn id(link: &OwnedFd) -> Result<u32> {
    calls::link(link.as_fd()).map(|link| link.id).context("a link cannot be read")
}

fn pinned(pin: &Path) -> Result<Option<OwnedFd>> {
    match calls::pinned(pin) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be opened", pin.display())),
    }
}
