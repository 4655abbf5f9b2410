//! `cargo xtask bench packets`: what the kernel programs cost for each class of packets, on this host in nanoseconds, or
//! on other kernels in instructions.

mod record;
mod table;

use std::{ffi::OsString, path::Path, process::Command};

use anyhow::Result;
use clap::Args;

use crate::{
    build_ebpf,
    command::{output, workspace_root},
    host, packages,
    program::{self, Files},
    programs::Profile,
    vm::{Guests, Kernel},
};
use record::{Record, Times};
pub(crate) use record::{commit, processor, release};

/// How much a guest measures. Only the guest's own interrupts make rounds differ.
const EFFORT_OF_GUESTS: &str = "--rounds 5 --repeat 300";

/// What measures.
const PROGRAM: &str = "bench_packets";

/// What is measured where
#[derive(Args)]
pub(crate) struct Options {
    /// `packets`: count instructions on these kernels, instead of taking times on this host
    #[arg(long, value_enum, value_name = "VERSION")]
    kernel: Vec<Kernel>,
}

/// Measures, prints a table, and compares.
pub(crate) fn run(options: &Options, files: &Files<'_>, arguments: &[OsString]) -> Result<()> {
    host::prepare("bench")?;
    let guests = if options.kernel.is_empty() {
        None
    } else {
        packages::install_for_guests()?;
        Some(Guests::prepare(&options.kernel)?)
    };
    build_ebpf::run()?;
    // Its optimization does not matter: the kernel looks at the clock.
    let program = program::built(PROGRAM, Profile::Ci)?;
    let mut measured = Record::default();
    match guests {
        Some(guests) => count(&guests, &program, &mut measured)?,
        None => measured.times = Some(time(&program, arguments)?),
    }
    let before = files.against.map(Record::read).transpose()?;
    print!("{}", table::of(&measured, before.as_ref().unwrap_or(&Record::default())));
    if let Some(path) = files.json {
        Record::update(path, &measured)?;
    }
    before.map_or(Ok(()), |before| measured.compare(&before))
}

/// The table of what the record in the repository has, for a document.
pub(crate) fn block(root: &Path) -> Result<String> {
    Ok(table::of(&Record::read(&root.join(record::PLACE))?, &Record::default()))
}

/// Counts instructions in guests, and compares them with the record in the repository.
pub(crate) fn check(guests: &Guests, program: &Path) -> Result<()> {
    let mut measured = Record::default();
    count(guests, program, &mut measured)?;
    measured.compare(&Record::read(&workspace_root().join(record::PLACE))?)
}

fn count(guests: &Guests, program: &Path, measured: &mut Record) -> Result<()> {
    for counted in guests.count(program, EFFORT_OF_GUESTS)? {
        measured.add_counts(&counted)?;
    }
    Ok(())
}

fn time(program: &Path, arguments: &[OsString]) -> Result<Times> {
    let lines = output(Command::new(program).args(arguments))?;
    Times::parse(&lines)
}
