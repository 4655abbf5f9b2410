//! The program that answers `getsockopt()`. A reload attaches and detaches it.

use std::fs::File;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};

use super::looked::Found;
use crate::bpf::cgroup;
use crate::bpf::in_place::{Change, InPlace};
use crate::bpf::links::Links;
use crate::bpf::loader::Loader;
use crate::bpf::programs::Loaded;
use crate::bpf::sockets;
use crate::config::Api;

/// The program, from the first configuration on that wants it. Clones share it.
#[derive(Clone)]
pub(super) struct SocketOption {
    loader: Arc<Loader>,
    program: Arc<OnceLock<Loaded>>,
}

/// Where the program belongs.
pub(super) struct OptionHook {
    option: SocketOption,
    /// The program is attached, so far as this agent knows.
    attached: bool,
}

impl SocketOption {
    pub(super) fn new(loader: Arc<Loader>) -> Self {
        Self { loader, program: Arc::default() }
    }

    /// Makes sure that the program can be attached if the configuration wants it. Attaches nothing.
    ///
    /// # Errors
    /// If the kernel refuses the program, or another program lets no other in.
    pub(super) fn prepare(&self, api: &Api) -> Result<()> {
        if api.getsockopt && self.program.get().is_none() {
            sockets::of_getsockopt().check(&cgroup::root()?.directory)?;
            // One that was loaded meanwhile is as good.
            self.program.set(self.loader.getsockopt()?).ok();
        }
        Ok(())
    }

    pub(super) const fn hook(self) -> OptionHook {
        OptionHook { option: self, attached: false }
    }
}

impl OptionHook {
    /// Attaches the program or detaches it, as the configuration wants. Returns what was found if it is wanted.
    ///
    /// # Errors
    /// If it stays attached though it is not wanted.
    pub(super) fn follow(
        &mut self,
        api: &Api,
        cgroup: &File,
        links: &mut Links,
    ) -> Result<Option<Found>> {
        let what = format!("the program at {}", sockets::of_getsockopt().label);
        if api.getsockopt {
            let found = self.ensure(cgroup, links);
            let found = found.with_context(|| format!("{what} is not attached"));
            return Ok(Some((what, found)));
        }
        if self.attached {
            links.release(sockets::of_getsockopt().pin).with_context(|| {
                format!("{what} is still attached, though the configuration does not want it")
            })?;
            self.attached = false;
            tracing::info!("detached from {}", sockets::of_getsockopt().label);
        }
        Ok(None)
    }

    fn ensure(&mut self, cgroup: &File, links: &mut Links) -> Result<InPlace> {
        let hook = sockets::of_getsockopt();
        let program = self.option.program.get().context("it is not loaded")?;
        let found = links.ensure(hook.pin, program, &hook.place(cgroup)?)?;
        if self.attached {
            return Ok(found);
        }
        self.attached = true;
        // What is attached for the first time has not been missing.
        Ok(InPlace { change: Change::None, ..found })
    }
}
