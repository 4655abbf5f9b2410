//! Kernel programs of proxyip that are attached, but not by the pins that this agent knows.
//!
//! Another BPF file system may hide the pins, or another agent has them elsewhere. Two programs on one interface would
//! answer each connection twice.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aya::programs::ProgramInfo;
use nix::net::if_::if_nametoindex;

use super::calls::{self, Target};
use super::direction::Direction;
use super::filters;
use super::pins::{link_directory, list, others};
use super::programs::{EGRESS, INGRESS};
use super::sockets::named;
use crate::host::mounts;

/// The kernel detaches a moment after the last pin of a link was removed.
const MOMENT: Duration = Duration::from_secs(2);

/// Makes sure that the interfaces of the calling thread's namespace have no strays.
///
/// # Errors
/// Names the programs, and what to do.
pub(crate) fn check(pin_path: &Path, interfaces: &[&str]) -> Result<()> {
    wait(pin_path, || find(pin_path, interfaces))
}

/// Makes sure that they have none whose pins are not seen anywhere. Others are another agent's.
///
/// # Errors
/// Names the programs, and what to do.
pub(crate) fn check_lost(pin_path: &Path, interfaces: &[&str]) -> Result<()> {
    wait(pin_path, || {
        let mut strays = find(pin_path, interfaces)?;
        if !strays.is_empty() {
            let pinned: Vec<_> =
                others(pin_path).iter().map(|path| pinned_programs(path)).collect();
            let held =
                |program: &u32| pinned.iter().flatten().any(|pinned| pinned.contains(program));
            strays.retain(|(program, _)| !held(program));
        }
        Ok(strays)
    })
}

/// Waits until nothing is found.
fn wait<'a>(pin_path: &Path, find: impl Fn() -> Result<Vec<Stray<'a>>>) -> Result<()> {
    let deadline = Instant::now() + MOMENT;
    loop {
        let strays = find()?;
        if strays.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{}", sentence(pin_path, &strays));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The same, without waiting for the kernel to detach.
pub(crate) fn check_now(pin_path: &Path, interfaces: &[&str]) -> Result<()> {
    let strays = find(pin_path, interfaces)?;
    ensure!(strays.is_empty(), "{}", sentence(pin_path, &strays));
    Ok(())
}

/// A program, and the interface that it is attached to.
type Stray<'a> = (u32, &'a str);

fn find<'a>(pin_path: &Path, interfaces: &[&'a str]) -> Result<Vec<Stray<'a>>> {
    let known = pinned_programs(pin_path)?;
    let mut strays = Vec::new();
    for interface in interfaces {
        for direction in [Direction::Ingress, Direction::Egress] {
            let attached = attached(interface, direction)
                .with_context(|| format!("what is attached to {interface} cannot be read"))?;
            let unknown = attached.into_iter().filter(|program| !known.contains(program));
            strays.extend(unknown.filter(|one| is_ours(*one)).map(|one| (one, *interface)));
        }
    }
    Ok(strays)
}

/// The programs of pinned links, and of filters.
pub(super) fn pinned_programs(pin_path: &Path) -> Result<HashSet<u32>> {
    let program = |pin: &Path| {
        let pinned = calls::pinned(pin).ok()?;
        let link = calls::link(pinned.as_fd()).map(|link| link.program);
        link.ok().or_else(|| ProgramInfo::from_pin(pin).ok().map(|info| info.id()))
    };
    let pins = list(&link_directory(pin_path))?;
    Ok(pins.iter().filter_map(|pin| program(pin)).collect())
}

fn attached(interface: &str, direction: Direction) -> Result<Vec<u32>> {
    let Ok(index) = if_nametoindex(interface) else { return Ok(Vec::new()) };
    match calls::attached(Target::Interface(index), direction.tcx()) {
        // There are no links for interfaces before Linux 6.6.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            filters::Place::here(direction, interface)?.programs()
        }
        attached => Ok(attached?.programs),
    }
}

/// By its name. The kernel keeps its first 15 bytes.
fn is_ours(program: u32) -> bool {
    calls::program_name(program).is_some_and(|name| [INGRESS, EGRESS].contains(&&*name))
}

fn sentence(pin_path: &Path, strays: &[Stray]) -> String {
    let mut sentence = String::new();
    for (program, interface) in strays {
        let and = if sentence.is_empty() { "" } else { ", " };
        write!(sentence, "{and}{} at {interface}", named(*program)).ok();
    }
    let holders = holders(pin_path, strays);
    let own = mounts::of(Path::new("/proc/self")).unwrap_or_default();
    let what_to_do = what_to_do(&holders, mounts::layers(&own, pin_path, "bpf"));
    format!(
        "programs of another proxyip are attached, which are not pinned below {}: {sentence}. Two on one interface break \
         each connection; {what_to_do}",
        pin_path.display()
    )
}

/// The other pin paths that have the pins of some of these programs.
fn holders(pin_path: &Path, strays: &[Stray]) -> Vec<PathBuf> {
    let mut holders = others(pin_path);
    holders.retain(|other| {
        let pinned = pinned_programs(other).unwrap_or_default();
        strays.iter().any(|(program, _)| pinned.contains(program))
    });
    holders
}

/// `layers` is how many BPF file systems are mounted over one another. They hide nothing if the pins are seen elsewhere.
fn what_to_do(holders: &[PathBuf], layers: usize) -> String {
    if let Some(first) = holders.first() {
        let first = first.display();
        let all: Vec<_> = holders.iter().map(|path| path.display().to_string()).collect();
        let which = if holders.len() > 1 { ", and the same with the others" } else { "" };
        return format!(
            "they are pinned below {}: leave these interfaces to the agent with that pin_path, or stop it and run \
             `proxyip detach --pin-path {first}`{which}",
            all.join(", ")
        );
    }
    if layers > 1 {
        return "BPF file systems are mounted over one another there, and the upper one hides the pins: umount it".into();
    }
    "if an agent runs with another pin_path, stop it and run `proxyip detach --pin-path` with that; if its pins are gone, \
     `bpftool link detach id` with each of its links in `bpftool link show` detaches them"
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two layers hide nothing if the pins are seen: unmounting would take pins that are used.
    #[test]
    fn pins_that_are_seen_are_named_before_mounts() {
        let blue = [PathBuf::from("/sys/fs/bpf/blue")];
        for layers in [1, 2] {
            let advice = what_to_do(&blue, layers);
            let expected = "they are pinned below /sys/fs/bpf/blue: leave";
            assert!(advice.starts_with(expected), "{advice}");
            assert!(advice.ends_with("`proxyip detach --pin-path /sys/fs/bpf/blue`"), "{advice}");
            assert!(!advice.contains("mount"), "{advice}");
        }
        assert!(what_to_do(&[], 2).ends_with("hides the pins: umount it"));
        assert!(what_to_do(&[], 1).starts_with("if an agent runs with another pin_path"));
    }
}
