//! Passes the programs' messages on to the log.

use anyhow::Result;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::bpf::poll::{self, Messages};

/// Goes on until it is dropped.
pub(super) struct Relay(AbortHandle);

impl Relay {
    pub(super) fn start(runtime: &Handle, messages: Messages) -> Self {
        Self(runtime.spawn(relay(messages)).abort_handle())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn relay(messages: Messages) -> Result<()> {
    let mut messages = poll::messages(messages)?;
    loop {
        let mut ready = messages.readable_mut().await?;
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}
