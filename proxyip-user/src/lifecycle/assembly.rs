//! The parts of the kernel side, each made from its maps.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use aya::Ebpf;

use super::attachments::Attachments;
use super::directories::Directories;
use super::doors::Doors;
use super::instances::Factory;
use super::looked::Looked;
use super::remaining::Others;
use super::shared::Shared;
use super::socket_option::SocketOption;
use super::targets::{SetPins, Targets};
use crate::api::view::View;
use crate::bpf::links::{self, Links};
use crate::bpf::loader::Instance;
use crate::bpf::pinned_maps::PinnedMaps;
use crate::bpf::pins;
use crate::bpf::programs::Loaded;
use crate::bpf::sockets::SocketHook;
use crate::config::Config;
use crate::desired::active::Current;
use crate::host::served::Served;
use crate::reap::partial_headers::PartialHeaders;
use crate::reap::translations::Collector;
use crate::reap::unnoticed::UnnoticedEnds;
use crate::reconcile::control::Control;
use crate::reconcile::remark::Remark;
use crate::reconcile::sets::Sets;
use crate::reconcile::writer::Writer;
use crate::supervise::Health;
use crate::tables::drained::DrainedPorts;
use crate::tables::fill::Fills;
use crate::tables::listeners::ListenerMap;
use crate::tables::maps::{CounterMap, FlowMap};
use crate::tables::ports::Ports;
use crate::tables::tally::Tally;
use crate::tables::translations::TranslationMap;
use crate::watch::early::Early;
use crate::watch::environment::Environment;
use crate::watch::fallbacks::Fallbacks;
use crate::watch::guarding::Guarding;
use crate::watch::mistakes::Findings;
use crate::watch::redirects::Found;

/// What a start does with the kernel, in the order in which [`Kernel::start`](super::kernel::Kernel::start) calls it.
pub(super) struct Steps<'a> {
    pub(super) config: &'a Config,
    pub(super) ports: Ports,
}

impl Steps<'_> {
    pub(super) fn pin_path(&self) -> &Path {
        &self.config.agent.pin_path
    }

    pub(super) fn put_in_force(&self, sets: Sets, flows: FlowMap) -> Result<Control> {
        let writer = Writer::open(self.pin_path(), self.ports.clone())?;
        Control::start(writer, self.config, sets, flows)
    }

    pub(super) fn targets(
        &self,
        factory: Factory,
        control: Control,
        served: Served,
    ) -> Result<Targets> {
        let doors = Doors::new(Arc::clone(&factory.loader), factory.pin_path.clone());
        Ok(Targets {
            factory,
            doors,
            control,
            served,
            translations: TranslationMap::open(self.pin_path())?,
            namespaces: Vec::new(),
            failed: HashMap::new(),
            vanished: false,
            needed: links::cookies(&links::all_attached(self.pin_path())?).into_iter().collect(),
            sets: SetPins::default(),
        })
    }

    pub(super) fn attachments(
        &self,
        (sockets, shared): (Vec<(SocketHook, Loaded)>, Instance),
        (targets, cgroup): (Targets, File),
        option: SocketOption,
    ) -> Result<Attachments> {
        Ok(Attachments {
            links: Links::new(self.pin_path())?,
            maps: PinnedMaps::read(pins::map_directory(self.pin_path()))?,
            sockets,
            shared: Shared::new(self.pin_path(), shared)?,
            option: option.hook(),
            cgroup,
            current: targets.control.current(),
            targets,
            directories: Directories::default(),
            guarding: Guarding::default(),
            looked: Looked::default(),
            looked_at: None,
            listed: Looked::default(),
            listed_at: None,
            incomplete_since: None,
            is_blind: false,
            others: Others::default(),
        })
    }

    pub(super) fn collect_translations(&self, served: Served, health: &Health) -> Result<()> {
        Collector::new(self.pin_path(), self.ports.clone(), served)?.spawn(health)
    }

    pub(super) fn partial_headers(
        &self,
        current: Current,
        served: Served,
    ) -> Result<PartialHeaders> {
        PartialHeaders::open(self.pin_path(), current, served)
    }

    pub(super) fn view(
        &self,
        sockets: &mut Ebpf,
        flows: FlowMap,
        environment: Environment,
    ) -> Result<View> {
        Ok(View {
            flows,
            counters: CounterMap::new(sockets)?,
            listeners: ListenerMap::open(self.pin_path())?,
            translations: TranslationMap::open(self.pin_path())?,
            environment,
            guarding: Guarding::default(),
            stale: Remark::default(),
            mixed: Remark::default(),
            health: Health::default(),
            unnoticed: UnnoticedEnds::default(),
            drained: DrainedPorts::default(),
            fills: Fills::default(),
            fallbacks: Fallbacks::default(),
            redirects: Found::default(),
            findings: Findings::default(),
            early: Early::default(),
            flow_count: Tally::default(),
            translated: Tally::default(),
        })
    }
}
