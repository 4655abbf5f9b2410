//! Which events the kernel programs need not send, because nobody wants them.

use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{Array, MapData};

use super::maps::open_owned;
use super::owners::claim;

/// The word that the programs read before they send an event of a socket.
pub(crate) struct Muted(Array<MapData, u32>);

impl Muted {
    /// Has the programs of an agent before this one send everything, if they are there. This agent may have a flow log that
    /// the other one had not, and says what it wants when it is ready.
    pub(crate) fn clear(pin_path: &Path) {
        if let Ok(mut muted) = Self::open(pin_path)
            && let Err(error) = muted.set(0)
        {
            tracing::error!("the flow log may lack connections: {error:#}");
        }
    }

    pub(crate) fn open(pin_path: &Path) -> Result<Self> {
        open_owned(pin_path, &claim!("MUTED")).map(Self)
    }

    /// From now on these are not sent; see [`muted`](proxyip_common::event::muted).
    pub(crate) fn set(&mut self, muted: u32) -> Result<()> {
        self.0.set(0, muted, 0).context("which events are wanted cannot be written")
    }
}
