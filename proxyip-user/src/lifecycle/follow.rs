//! Reloads that change what is attached: prepares it before, and waits until it is attached.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use proxyip_api::finding::{Finding, FindingKind};

use super::requests::Request;
use super::socket_option::SocketOption;
use crate::bpf::strays;
use crate::config::{Config, Interface, Xdp};
use crate::desired::targets::{Target, named};
use crate::host::capability::Capability;
use crate::host::entrance::Entrance;
use crate::host::links::check_interface;
use crate::host::served::Served;
use crate::mailbox::Sender;
use crate::reconcile::control::Control;

/// How long a reload waits for a look at hundreds of namespaces. The thread may rest because it has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a reload says of a finding that it leads to.
fn warning(Finding { label, sentence }: Finding) -> String {
    // What a pattern does not find is not missing.
    if label == FindingKind::MatchesNothing.label() {
        sentence
    } else {
        format!("not guarded: {sentence}")
    }
}

/// Has what a new configuration wants attached.
#[derive(Clone)]
pub struct Follow {
    ask: Sender<Request>,
    capability: Capability,
    served: Served,
    option: SocketOption,
}

impl Follow {
    pub(super) const fn new(
        ask: Sender<Request>,
        capability: Capability,
        served: Served,
        option: SocketOption,
    ) -> Self {
        Self { ask, capability, served, option }
    }

    /// Puts a configuration in force. Its lists come first, and then what is attached. Returns its warnings, what is
    /// not guarded, and patterns that find nothing.
    ///
    /// # Errors
    /// If what it adds cannot be attached, or for the reasons of [`Control::reload`]. Then nothing has
    /// changed.
    pub(super) fn reload(&self, control: &Control, config: &Config) -> Result<Vec<String>> {
        let old = Arc::clone(&control.current().borrow());
        let attached = |config: &Config| (config.interfaces.clone(), config.api.getsockopt);
        let same = attached(&old.config) == attached(config);
        if !same {
            self.option.prepare(&config.api).context("nothing was changed: [api] getsockopt")?;
            self.check(&old.config.interfaces, config).context("nothing was changed")?;
        }
        control.reload(config)?;
        let mut warnings = Finding::sentences(&control.current().borrow().warnings);
        // What has failed at XDP rests, unless a reload asks for it.
        if !same || config.interfaces.iter().any(|one| one.xdp != Xdp::Off) {
            let unknown =
                |error| vec![Finding::new(FindingKind::ThreadFails, format!("{error:#}"))];
            let missing = self.look().unwrap_or_else(unknown);
            warnings.extend(missing.into_iter().map(warning));
        }
        Ok(warnings)
    }

    /// Whether what is added can be attached to.
    fn check(&self, old: &[Interface], new: &Config) -> Result<()> {
        self.capability.check(new)?;
        let old = named(old);
        for Target { netns, named: names, .. } in named(&new.interfaces) {
            let before = old.iter().find(|there| there.netns == netns);
            let is_new = |name: &&str| before.is_none_or(|before| !before.named.contains(name));
            let added: Vec<_> = names.into_iter().filter(is_new).collect();
            if added.is_empty() && before.is_some() {
                continue;
            }
            let netns = &netns;
            let entrance = Entrance::find(netns, &self.capability)?;
            self.check_name(&entrance)?;
            let fit = entrance.run(|| {
                added.iter().try_for_each(|name| check_interface(name, netns))?;
                strays::check(&new.agent.pin_path, &added)
            });
            fit.context("[[interface]]")?;
        }
        Ok(())
    }

    /// A namespace that is served keeps its name.
    fn check_name(&self, entrance: &Entrance) -> Result<()> {
        let served = self.served.now();
        let same = served.iter().find(|one| one.entrance.leads_where(entrance));
        match same.map(|one| one.entrance.netns()).filter(|there| *there != entrance.netns()) {
            Some(there) => bail!(
                "{} is {there}, which is served by that name: keep the name, or remove it by a reload of its own first",
                entrance.netns()
            ),
            None => Ok(()),
        }
    }

    /// Has a look taken now; returns what is not guarded after it, and the patterns that find nothing.
    fn look(&self) -> Result<Vec<Finding>> {
        let (answer, missing) = sync_channel(1);
        let gone = "nobody has looked at what is attached for a minute";
        self.ask.send(Request::Look(answer)).context(gone)?;
        missing.recv_timeout(PATIENCE).context(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_finds_nothing_leaves_nothing_unguarded() {
        let said = |kind| warning(Finding::new(kind, "so"));
        assert_eq!(said(FindingKind::MatchesNothing), "so");
        assert_eq!(said(FindingKind::InterfaceGone), "not guarded: so");
    }
}
