//! `cargo xtask vm`: the end-to-end tests on other kernels, in emulated machines.
//!
//! Everything comes from Debian: the kernels, the emulator, and the guests' file system with the
//! servers and tools that the tests start. It is unpacked below `target/vm`, once.

mod cache;
mod console;
mod counting;
mod debian;
mod image;
mod kernel;
mod machine;
mod modules;
mod payload;
mod qemu;
mod report;
mod summary;

use std::{
    fs::File,
    num::NonZero,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum as _};

use self::{
    kernel::Files,
    machine::{Outcome, Parts},
    qemu::{Clock, Qemu},
};
use crate::{
    build_ebpf, host, packages,
    programs::{Profile, Programs},
};

pub(crate) use self::{counting::Counted, kernel::Kernel};

/// The tests whose result depends on the kernel. Under emulation each takes ten seconds. They cover real servers and
/// load balancers, each pair of address families, and an application that reads the header itself. They also cover
/// lists and named sets of clients, and how kernels treat the program of a socket option.
const CORE: [&str; 14] = [
    "a_block_list_refuses_its_members",
    "clients_on_a_list_get_to_nginx",
    "closing::translate",
    "families::",
    "headers_in_parts_that_find_the_accept_queue_full",
    "observe::haproxy",
    "observe::nginx",
    "ruby::",
    "socket_option::auto::clients_of_both_families",
    "socket_option::other_options",
    "ssh::",
    "verified::",
    "web::",
    "what_is_behind_the_header_arrives_whole",
];

/// The tests that show whether the kernel programs work on a kernel. The verifier accepts the programs. Each hand-off
/// gives real servers their clients, in both families and with split headers. Decisions that depend on the kernel's
/// version are right.
const SMOKE: [&str; 15] = [
    "a_block_list_refuses_its_members",
    "clients_on_a_list_get_to_nginx",
    "closing::translate",
    "families::auto",
    "headers_in_parts_that_find_the_accept_queue_full",
    "observe::haproxy",
    "observe::nginx",
    "ruby::auto",
    "ruby::translate",
    "socket_option::auto::clients_of_both_families",
    "socket_option::other_options",
    "ssh::",
    "verified::",
    "web::auto",
    "web::translate",
];

/// What to run on which kernels
#[derive(Args)]
pub(crate) struct Options {
    /// The kernels; if none is named, those that are not for real time
    #[arg(value_enum, value_name = "VERSION")]
    versions: Vec<Kernel>,
    /// Part of the names of the tests to run, instead of the core tests; may be repeated
    #[arg(long, value_name = "FILTER", conflicts_with = "command")]
    tests: Vec<String>,
    /// Run a few tests instead of the core tests
    #[arg(long, conflicts_with_all = ["command", "tests"])]
    smoke: bool,
    /// Run the packet table instead of the core tests
    #[arg(long, conflicts_with_all = ["command", "tests", "smoke"])]
    packets: bool,
    /// Run a shell command in the guests instead of tests, in a directory with `proxyip` and `e2e`
    #[arg(long)]
    command: Option<String>,
}

/// Builds everything and runs it in the guests.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !host::is_root() {
        bail!("`cargo xtask vm` makes file systems of Debian packages: run it as root");
    }
    packages::install_for_guests()?;
    let guests = Guests::prepare(&options.versions)?;
    build_ebpf::run()?;
    guests.run(&Programs::build(Profile::Ci)?, options)
}

/// Everything about guests that does not depend on what they run.
#[derive(Debug)]
pub(crate) struct Guests {
    kernels: Vec<(Kernel, Files)>,
    qemu: Qemu,
    system: PathBuf,
    /// Nobody else changes the files meanwhile.
    _lock: File,
}

impl Guests {
    /// Makes what is missing for these kernels; for the usual ones if none is named.
    pub(crate) fn prepare(versions: &[Kernel]) -> Result<Self> {
        let lock = cache::lock()?;
        let files = kernels(versions).into_iter().map(|kernel| Ok((kernel, kernel.prepare()?)));
        Ok(Self {
            kernels: files.collect::<Result<_>>()?,
            qemu: Qemu::prepare()?,
            system: payload::system()?,
            _lock: lock,
        })
    }

    /// Runs what `options` say in all of them, and prints a table.
    pub(crate) fn run(&self, programs: &Programs, options: &Options) -> Result<()> {
        // A test that got another name must not be left out in silence.
        let e2e = programs.end_to_end("e2e")?;
        for filter in options.filters() {
            if e2e.count(std::slice::from_ref(&filter))? == 0 {
                bail!("no end-to-end test has a name with `{filter}` in it");
            }
        }
        let parts = Parts {
            qemu: &self.qemu,
            system: &self.system,
            payload: payload::pack(programs, &script(options))?,
            with_tests: options.command.is_none(),
            clock: Clock::Time,
        };
        summary::print(&run_guests(&parts, &self.kernels))
    }
}

impl Options {
    /// A few tests on these kernels.
    pub(crate) fn smoke(versions: &[Kernel]) -> Self {
        Self { smoke: true, ..Self::core(versions) }
    }

    /// The core tests on these kernels.
    pub(crate) fn core(versions: &[Kernel]) -> Self {
        let versions = versions.to_vec();
        Self { versions, tests: Vec::new(), smoke: false, packets: false, command: None }
    }

    /// Which end-to-end tests to run.
    fn filters(&self) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        match self {
            Self { command: Some(_), .. } | Self { packets: true, .. } => Vec::new(),
            Self { tests, .. } if !tests.is_empty() => tests.clone(),
            Self { smoke: true, .. } => owned(&SMOKE),
            Self { .. } => owned(&CORE),
        }
    }
}

fn kernels(named: &[Kernel]) -> Vec<Kernel> {
    let wanted = if named.is_empty() { &Kernel::USUAL } else { named };
    let all = Kernel::value_variants().iter().copied();
    all.filter(|kernel| wanted.contains(kernel)).collect()
}

fn script(options: &Options) -> String {
    match &options.command {
        Some(command) => format!("{command}\n"),
        None if options.packets => payload::test_script("packets", &[]),
        None => payload::test_script("e2e", &options.filters()),
    }
}

/// Runs as many guests at a time as the host has processors.
fn run_guests(parts: &Parts<'_>, kernels: &[(Kernel, Files)]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let one_after_another = || {
        let take = || kernels.get(next.fetch_add(1, Ordering::Relaxed));
        while let Some((kernel, files)) = take() {
            let outcome = machine::run(parts, *kernel, files);
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(one_after_another);
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|outcome| outcome.kernel);
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_kernels_unless_some_are_named() {
        assert_eq!(kernels(&[]), Kernel::USUAL);
        let named = [Kernel::Sid, Kernel::Bookworm, Kernel::Sid];
        assert_eq!(kernels(&named), [Kernel::Bookworm, Kernel::Sid]);
    }

    #[test]
    fn tests_that_are_named_run_instead_of_the_core() {
        let options = |tests: &[&str], command: Option<&str>| Options {
            versions: Vec::new(),
            tests: tests.iter().map(|&name| name.to_owned()).collect(),
            smoke: false,
            packets: false,
            command: command.map(str::to_owned),
        };
        assert!(script(&options(&[], None)).contains(" 'ssh::' 'verified::' 'web::' "));
        assert!(script(&options(&["under_load"], None)).ends_with("tests e2e 'under_load'\n"));
        assert_eq!(script(&options(&[], Some("uname -r"))), "uname -r\n");
        assert!(script(&Options::smoke(&[])).contains(" 'ruby::auto' "));
    }
}
