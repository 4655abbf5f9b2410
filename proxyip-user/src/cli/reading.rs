//! Verbs that print what the agent answers.

use std::future::Future;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::config::DEFAULT_SOCKET;

/// What every verb that prints what the agent answers takes.
#[derive(Debug, Args)]
pub(super) struct Reading {
    /// Unix socket of the agent.
    #[arg(long, value_name = "PATH", env = "PROXYIP_SOCKET", default_value = DEFAULT_SOCKET)]
    pub(super) socket: PathBuf,
    /// Print the agent's JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Runs one conversation with the agent.
pub(super) fn ask<T>(conversation: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the runtime cannot be started")?.block_on(conversation)
}
