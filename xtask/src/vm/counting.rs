//! Guests whose clock counts instructions: what is measured there is the same on any host, however busy that is.
//!
//! The emulator executes one instruction after another, and the guest's clock is their number. What a program in the
//! kernel does between two looks at the clock is what the processor would do, helpers and all.

use std::path::Path;

use anyhow::Result;

use super::{Guests, Parts, payload, qemu::Clock, run_guests, summary};

/// What was counted on a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// The kernel, as the command line names it.
    pub(crate) kernel: &'static str,
    /// What it calls itself.
    pub(crate) release: String,
    /// The lines that the program has printed of classes of packets.
    pub(crate) lines: Vec<String>,
}

impl Guests {
    /// Runs a program with these arguments in all guests.
    pub(crate) fn count(&self, program: &Path, arguments: &str) -> Result<Vec<Counted>> {
        let script = format!("exec ./measure {arguments}\n");
        let parts = Parts {
            qemu: &self.qemu,
            system: &self.system,
            payload: payload::pack_programs(&[(program, "measure")], &script)?,
            with_tests: false,
            clock: Clock::Instructions,
        };
        let outcomes = run_guests(&parts, &self.kernels);
        summary::print(&outcomes)?;
        Ok(outcomes
            .into_iter()
            .map(|outcome| {
                let release = outcome.report.booted.map(|(release, _)| release).unwrap_or_default();
                Counted { kernel: outcome.kernel.name(), release, lines: outcome.report.classes }
            })
            .collect())
    }
}
