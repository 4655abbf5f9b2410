//! How an agent that starts attaches its programs: beside nothing, or in the place of those of an agent before it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};

use super::attachments::Attachments;
use super::looked::Found;
use crate::bpf::takeover::Takeover;
use crate::desired::targets as desired;
use crate::host::matching::files;
use crate::tables::ports::Ports;

impl Attachments {
    /// Attaches to the root of the cgroup hierarchy, to the interfaces that entries name, and to those that patterns
    /// find. Detaches what an agent before this one attached and this one does not want.
    ///
    /// # Errors
    /// If what entries name cannot be attached to, or another version's connections cannot be taken over.
    pub(super) fn attach(&mut self, takeover: Option<Takeover>, ports: &Ports) -> Result<()> {
        if let Some(takeover) = takeover {
            self.take_over(takeover, ports)?;
        } else {
            // Sockets first: a connection that is handed over must be seen when it is established.
            self.attach_to_sockets()?;
            self.shared.put_to_work()?;
            self.attach_to_interfaces(self.targets.all())?;
        }
        self.look_at_all();
        if let Some(stuck) = self.detach_others() {
            tracing::error!("{}", stuck.sentence);
        }
        if self.others.are_there() {
            // The next list says so.
            self.listed_at = None;
        }
        Ok(())
    }

    /// Attaches in the place of another version's programs.
    fn take_over(&mut self, takeover: Takeover, ports: &Ports) -> Result<()> {
        let named = self.targets.all();
        // What patterns find is served as well: its programs are loaded before anything is held.
        let active = Arc::clone(&self.current.borrow());
        let wanted = desired::targets(&active.config.interfaces, files);
        while self.targets.serve(&wanted, &self.links).1 {}
        let found = named.end..self.targets.all().end;
        self.shared.put_to_work()?;
        let since = Instant::now();
        let hold = ports.hold()?;
        // Interfaces first: behind them nothing is handed over that the programs on sockets would not know. What goes
        // wrong with those that patterns found is said by the next look.
        let attached = self.attach_to_interfaces(named).and_then(|()| {
            drop(self.targets.ensure(found, &mut self.links));
            self.attach_to_sockets()
        });
        // Where it failed, some programs are this version's already.
        let copied = takeover.copy_connections();
        hold.release()?;
        let duration = since.elapsed();
        attached?;
        let entries = copied?;
        takeover.finish()?;
        tracing::info!(
            "took over from a version with another layout; {entries} entries of connections were copied, and segments were \
             held for {} ms",
            duration.as_millis()
        );
        Ok(())
    }

    fn attach_to_sockets(&mut self) -> Result<()> {
        let active = Arc::clone(&self.current.borrow());
        let Self { option, cgroup, links, .. } = self;
        let option = option.follow(&active.config.api, cgroup, links)?;
        all_attached(self.ensure_sockets().into_iter().chain(option))
    }

    fn attach_to_interfaces(&mut self, namespaces: Range<usize>) -> Result<()> {
        all_attached(self.targets.ensure(namespaces, &mut self.links))
    }
}

fn all_attached(found: impl IntoIterator<Item = Found>) -> Result<()> {
    found.into_iter().try_for_each(|(what, found)| {
        found.map(drop).with_context(|| format!("{what} cannot be attached"))
    })
}
