//! The parts of the agent beside the kernel's maps that take another configuration while it runs.
//!
//! A reload prepares all of them while the old configuration is in force: it opens, binds and loads. Each of these may fail,
//! and then what was prepared is dropped. When the kernel's maps have changed too, nothing can fail any more.

use std::sync::Arc;

use anyhow::Result;

use crate::api::{NextApi, Server};
use crate::config::{Agent, Config};
use crate::flowlog::flows::Flows;
use crate::flowlog::losses::LostLines;
use crate::flowlog::queue::NextLog;
use crate::host::roots;
use crate::tables::secrets::EpochLength;

/// What can prepare a change.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) lost_lines: LostLines,
    pub(crate) server: Server,
    /// With their TLVs.
    pub(crate) flows: Arc<Flows>,
    pub(crate) epoch_length: EpochLength,
}

/// A configuration that no part refuses. Nothing of it is in force yet.
pub(crate) struct Prepared {
    parts: Parts,
    api: NextApi,
    log: NextLog,
    agent: Agent,
}

impl Parts {
    /// Prepares what differs in `new`. To be called in a runtime.
    ///
    /// # Errors
    /// The first part that refuses; nothing has changed then.
    pub(crate) fn prepare(&self, old: &Config, new: &Config) -> Result<Prepared> {
        let log = NextLog::open(&new.log, &old.log, &self.lost_lines)?;
        let api = self.server.prepare(&old.api, &new.api)?;
        Ok(Prepared { parts: self.clone(), api, log, agent: new.agent.clone() })
    }
}

impl Prepared {
    /// Puts all in force but the flow log, which belongs to the thread of events.
    pub(crate) fn put_in_force(self) -> NextLog {
        let Self { parts: Parts { server, flows, epoch_length, .. }, api, log, agent } = self;
        server.exchange(api);
        flows.bound(agent.max_tlv_memory);
        epoch_length.set(agent.handshake_timeout);
        roots::follow(&agent);
        log
    }
}
