//! Attaching, so that it outlives the agent: every link is pinned, and an agent that takes over puts its
//! program into the pinned link atomically.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{
    CgroupAttachMode, CgroupSockAddr, CgroupSockopt, LinkOrder, SchedClassifier, SockOps,
};
use aya::sys::SyscallError;

use super::attached;
use super::cgroup_link;
use super::direction::Direction;
use super::filters::Place;
use super::pins::{self, link_directory};

/// Links to cgroups take no flags: they always allow others beside them.
const ATTACH: CgroupAttachMode = CgroupAttachMode::Single;

/// The pins of links, and those of them that this agent wants.
#[derive(Debug)]
pub(crate) struct Links {
    directory: PathBuf,
    wanted: Vec<PathBuf>,
    /// The kernel has links for interfaces. Otherwise filters are used, and their programs are pinned.
    tcx: bool,
}

impl Links {
    pub(crate) fn new(pin_path: &Path, tcx: bool) -> Result<Self> {
        let directory = link_directory(pin_path);
        fs::create_dir_all(&directory)
            .with_context(|| format!("{} cannot be made", directory.display()))?;
        Ok(Self { directory, wanted: Vec::new(), tcx })
    }

    /// Attaches to an interface of the calling thread's namespace. `cookie` is that namespace's.
    pub(crate) fn classifier(
        &mut self,
        program: &mut SchedClassifier,
        direction: Direction,
        cookie: u64,
        interface: &str,
    ) -> Result<()> {
        if self.tcx {
            let pin = self.want(&format!("{}-{cookie}-{interface}", direction.label()));
            link(program, direction, interface, &pin)
        } else {
            let place = Place::here(direction, interface)?;
            let pin = self.want(&place.name());
            place.attach(program, &pin)
        }
    }

    /// Attaches to the root of the cgroup hierarchy.
    pub(crate) fn sock_ops(&mut self, program: &mut SockOps, cgroup: &File) -> Result<()> {
        let pin = self.want("sockops");
        let id = program.attach(cgroup, ATTACH).context("the socket program cannot be attached")?;
        replace(program.take_link(id)?.try_into()?, &pin)
    }

    /// Attaches to the root of the cgroup hierarchy.
    pub(crate) fn getpeername(
        &mut self,
        program: &mut CgroupSockAddr,
        name: &str,
        cgroup: &File,
    ) -> Result<()> {
        let pin = self.want(name);
        let id =
            program.attach(cgroup, ATTACH).context("the getpeername program cannot be attached")?;
        replace(program.take_link(id)?.try_into()?, &pin)
    }

    /// Attaches to the root of the cgroup hierarchy.
    pub(crate) fn getsockopt(&mut self, program: &mut CgroupSockopt, cgroup: &File) -> Result<()> {
        let pin = self.want("getsockopt");
        let link = cgroup_link::attach_getsockopt(program.fd()?, cgroup)
            .context("the getsockopt program cannot be attached")?;
        put_in_place(&pin, |new| Ok(cgroup_link::pin(&link, new)?))
    }

    /// What an agent before this one attached and this one does not want.
    pub(crate) fn others(&self) -> Result<Vec<PathBuf>> {
        let mut pins = pins::list(&self.directory)?;
        pins.retain(|pin| !self.wanted.contains(pin));
        attached::sort(&mut pins);
        Ok(pins)
    }

    fn want(&mut self, name: &str) -> PathBuf {
        // Names on a BPF file system have no dots, names of interfaces no colons.
        let pin = self.directory.join(name.replace('.', ":"));
        self.wanted.push(pin.clone());
        pin
    }
}

/// Puts the program into the pinned link, or into a new one.
fn link(
    program: &mut SchedClassifier,
    direction: Direction,
    interface: &str,
    pin: &Path,
) -> Result<()> {
    if let Some(old) = pinned(pin)? {
        // Fails if the interface has been removed since.
        if let Ok(id) = program.attach_to_link(FdLink::from(old).try_into()?) {
            // Dropping the link would not detach it: its pin holds it.
            program.take_link(id)?;
            return Ok(());
        }
        pins::discard(pin)?;
    }
    // First, because a program before this one could end the chain; this one passes on what it lets pass.
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program
        .attach_with_options(interface, direction.attach_type(), options)
        .with_context(|| format!("interface {interface} cannot be attached to"))?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    link.pin(pin).with_context(|| format!("{} cannot be pinned", pin.display()))?;
    Ok(())
}

/// Pins a new link in the place of an old one. For a moment both are attached, and none never: these
/// programs may run twice for the same socket, but must not miss one.
fn replace(link: FdLink, pin: &Path) -> Result<()> {
    put_in_place(pin, |new| Ok(link.pin(new).map(|_| ())?))
}

/// Puts what `pin_new` pins in the place of `pin`.
fn put_in_place(pin: &Path, pin_new: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let new = pins::successor(pin);
    pins::discard(&new)?;
    pin_new(&new).with_context(|| format!("{} cannot be pinned", new.display()))?;
    pins::discard(pin)?;
    fs::rename(&new, pin).with_context(|| format!("{} cannot be pinned", pin.display()))
}

fn pinned(pin: &Path) -> Result<Option<PinnedLink>> {
    match PinnedLink::from_pin(pin) {
        Ok(link) => Ok(Some(link)),
        Err(LinkError::SyscallError(SyscallError { io_error, .. }))
            if io_error.kind() == ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be opened", pin.display())),
    }
}

/// The root of the cgroup v2 hierarchy, wherever it is mounted.
pub(crate) fn root_cgroup() -> Result<File> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("the mounts cannot be read")?;
    let Some(path) = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        (fields.next()? == "cgroup2").then_some(path)
    }) else {
        bail!("no cgroup v2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified");
    };
    File::open(path).with_context(|| format!("{path} cannot be opened"))
}
