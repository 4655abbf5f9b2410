//! The interfaces of this host that entries of a configuration choose, as they are now.

use std::path::Path;

use proxyip_api::status::InterfaceJson;

use crate::bpf::strays;
use crate::config::{Interface, Netns};
use crate::desired::targets::{Target, targets};
use crate::host::links::{self, check_interface};
use crate::host::matching::files;
use crate::host::namespace::Namespace;

/// What entries choose.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    /// The interfaces that are there.
    pub(super) there: Vec<InterfaceJson>,
    /// What an entry names and is not there, or cannot be served; with the reason.
    pub(super) missing: Vec<(InterfaceJson, String)>,
}

/// Who looks.
#[derive(Clone, Copy)]
pub(super) struct Agent<'a> {
    /// The file of the agent's namespace; `None` if it is this one.
    pub(super) namespace: Option<&'a Path>,
    /// Where its pins are.
    pub(super) pin_path: &'a Path,
}

/// What these entries choose for an agent.
pub(super) fn chosen(entries: &[Interface], agent: Agent) -> Chosen {
    let mut chosen = Chosen::default();
    for target in &targets(entries, files) {
        chosen.look(target, agent);
    }
    chosen
}

impl Chosen {
    fn look(&mut self, target: &Target, Agent { namespace, pin_path }: Agent) {
        let place = |name: &str| {
            let netns = match &target.netns {
                Netns::Host => "host".into(),
                Netns::Path(path) => path.display().to_string(),
            };
            InterfaceJson { name: name.into(), netns, xdp: None }
        };
        let entrance = match (&target.netns, namespace) {
            (Netns::Host, Some(file)) => &Netns::Path(file.to_owned()),
            (netns, _) => netns,
        };
        let looked = Namespace::open(entrance).and_then(|namespace| {
            namespace.run(|| {
                let named = |name: &&str| {
                    check_interface(name, &target.netns)?;
                    strays::check_now(pin_path, &[name])
                };
                let named: Vec<_> = target.named.iter().map(named).collect();
                Ok((named, links::all()?.found))
            })
        });
        let (named, mut links) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                let error = format!("{error:#}");
                let all = target.named.iter().map(|name| (place(name), error.clone()));
                self.missing.extend(all);
                return;
            }
        };
        for (name, found) in target.named.iter().zip(named) {
            match found {
                Ok(()) => self.there.push(place(name)),
                Err(error) => self.missing.push((place(name), format!("{error:#}"))),
            }
        }
        links.retain(|link| {
            !target.named.contains(&&*link.name) && link.is_found_by(target.sought.iter().copied())
        });
        self.there.extend(links.iter().map(|link| place(&link.name)));
    }
}

/// What is in `all` and not in `others`.
pub(super) fn without(all: &[InterfaceJson], others: &[InterfaceJson]) -> Vec<InterfaceJson> {
    all.iter().filter(|one| !others.contains(one)).cloned().collect()
}
