//! The programs at XDP of all namespaces. They are loaded when the first interface wants one.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use proxyip_api::finding::{Finding, FindingKind};
use tokio::runtime::Handle;

use super::door::Frame;
use super::interface::Interface;
use super::of_namespace::OfNamespace;
use super::relay::Relay;
use crate::bpf::calls::XdpMode;
use crate::bpf::links::Links;
use crate::bpf::loader::Loader;
use crate::bpf::programs::Loaded;
use crate::desired::plan::interfaces::Id;
use crate::desired::targets::xdp_of;
use crate::tables::programs::XdpPrograms;

/// The programs at XDP.
pub(super) struct Doors {
    loader: Arc<Loader>,
    pin_path: PathBuf,
    /// The agent's, for messages.
    runtime: Handle,
    shared: Option<Shared>,
    /// Those of namespaces, by mode and cookie.
    programs: HashMap<(XdpMode, u64), Loaded>,
}

/// The program that works for all namespaces. Its table is kept open: the kernel would empty it if somebody removed its pin.
struct Shared {
    _table: XdpPrograms,
    _program: Loaded,
    /// Only if the programs log.
    _relay: Option<Relay>,
}

impl Doors {
    /// Not to be called outside a runtime.
    pub(super) fn new(loader: Arc<Loader>, pin_path: PathBuf) -> Self {
        let runtime = Handle::current();
        Self { loader, pin_path, runtime, shared: None, programs: HashMap::new() }
    }

    /// Sees to it that each interface of a namespace whose other programs are in place has what is wanted at XDP.
    pub(super) fn follow(&mut self, one: &mut OfNamespace, links: &mut Links) {
        let entries = one.xdp.iter().map(|(names, xdp)| (names, *xdp));
        let is_shut = |interface: &Interface| {
            interface.door.is_shut(xdp_of(entries.clone(), &interface.name))
        };
        if one.interfaces.values().all(is_shut) {
            return;
        }
        let entrance = one.entrance.clone();
        let followed = entrance.run(|| {
            let mut wrong = Vec::new();
            for id in one.interfaces.keys().copied().collect::<Vec<_>>() {
                wrong.extend(self.follow_one(one, id, links).err());
            }
            Ok(wrong)
        });
        // A namespace that is gone is left at the next look.
        for error in followed.unwrap_or_default() {
            let stays = Finding::new(FindingKind::StillAttached, format!("{error:#}"));
            one.looked.remarks.push(stays);
        }
    }

    fn follow_one(&mut self, one: &mut OfNamespace, id: Id, links: &mut Links) -> Result<()> {
        let (cookie, place, programs) = (one.entrance.cookie(), one.place, one.programs.len());
        let entries = one.xdp.iter().map(|(names, xdp)| (names, *xdp));
        let Some(interface) = one.interfaces.get_mut(&id) else { return Ok(()) };
        let wanted = xdp_of(entries, &interface.name);
        let Some(index) = interface.index.filter(|_| interface.ready == programs) else {
            // Nobody would hand over what is answered.
            return interface.door.shut(links);
        };
        let name = interface.name.clone();
        let frame = Frame { name: &name, index, cookie };
        interface.door.follow(wanted, frame, links, |mode| self.program((mode, cookie), place))
    }

    /// The program of a namespace with this cookie, at this entry of `NAMESPACES`.
    fn program(&mut self, key: (XdpMode, u64), place: u32) -> Result<Loaded> {
        if !self.programs.contains_key(&key) {
            let program = match key.0 {
                XdpMode::Native => self.front(place)?,
                XdpMode::Generic => self.loader.xdp_generic(place)?,
            };
            self.programs.insert(key, program);
        }
        self.programs.get(&key).ok_or_else(|| anyhow!("it is not loaded"))?.try_clone()
    }

    fn front(&mut self, place: u32) -> Result<Loaded> {
        if self.shared.is_none() {
            let (program, messages) = self.loader.xdp()?;
            let mut table = XdpPrograms::open(&self.pin_path)?;
            table.set(&program)?;
            let relay = messages.map(|messages| Relay::start(&self.runtime, messages));
            self.shared = Some(Shared { _table: table, _program: program, _relay: relay });
        }
        self.loader.xdp_front(place)
    }

    /// Forgets a namespace that is left.
    pub(super) fn forget(&mut self, cookie: u64) {
        self.programs.retain(|(_, namespace), _| *namespace != cookie);
    }
}
