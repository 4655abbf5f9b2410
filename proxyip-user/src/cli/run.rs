//! `proxyip run`

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use super::exit::Exit;
use super::output::finish;
use crate::config::{Config, ConfigError, KernelLog, PortRange, interface_name, network};
use crate::lifecycle::run::{Signals, agent};

/// Attach the kernel programs, and serve their events and the API until SIGINT or SIGTERM.
///
/// What to guard comes from a file, or from --interface, --port and --trust. Diagnostics go to standard
/// error, the flow log to standard output as JSON lines. The kernel programs go on working when the agent
/// ends; `proxyip detach` removes them.
#[derive(Debug, clap::Args)]
#[command(override_usage = "proxyip run --config <FILE> [OPTIONS]
       proxyip run --interface <NAME> --port <PORT> --trust <CIDR> [OPTIONS]")]
pub(super) struct Arguments {
    /// Configuration file (TOML).
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["interfaces", "ports", "trusted"],
        required_unless_present_any = ["interfaces", "ports", "trusted"]
    )]
    config: Option<PathBuf>,
    /// Interface that the load balancer's packets come in on; may be repeated.
    #[arg(
        long = "interface",
        value_name = "NAME",
        value_parser = interface_name,
        requires_all = ["ports", "trusted"]
    )]
    interfaces: Vec<String>,
    /// Port to guard, or a range such as 8000-8010; may be repeated.
    #[arg(
        long = "port",
        value_name = "PORT",
        value_delimiter = ',',
        requires_all = ["interfaces", "trusted"]
    )]
    ports: Vec<PortRange>,
    /// Network whose connections to guarded ports start with a PROXY header; may be repeated.
    #[arg(
        long = "trust",
        value_name = "CIDR",
        value_delimiter = ',',
        value_parser = network,
        requires_all = ["interfaces", "ports"]
    )]
    trusted: Vec<IpNet>,
    /// Unix socket to answer on, instead of the configuration's.
    #[arg(long, value_name = "PATH", env = "PROXYIP_SOCKET")]
    socket: Option<PathBuf>,
    /// Where to pin the kernel programs, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    pin_path: Option<PathBuf>,
    /// How much the kernel programs say, at a cost for every packet.
    #[arg(long, value_name = "LEVEL", default_value = "off")]
    kernel_log: KernelLog,
}

impl Arguments {
    fn config(&self) -> Result<Config, ConfigError> {
        let mut config = match &self.config {
            Some(path) => Config::from_file(path)?,
            None => {
                Config::from_arguments(self.interfaces.clone(), &self.ports, self.trusted.clone())
            }
        };
        if let Some(socket) = &self.socket {
            config.api.socket.clone_from(socket);
        }
        if let Some(pin_path) = &self.pin_path {
            config.agent.pin_path.clone_from(pin_path);
        }
        Ok(config)
    }
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    // The kernel's events stay on this thread; one more serves the API.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.context("the runtime cannot be started");
    let started = runtime.and_then(|runtime| {
        let _inside = runtime.enter();
        let signals = Signals::listen()?;
        Ok((runtime, signals))
    });
    let (runtime, signals) = match started {
        Ok(started) => started,
        Err(error) => return finish(Err(error)),
    };
    let kernel_log = arguments.kernel_log;
    let config = match arguments.config() {
        Ok(config) => config,
        Err(error) => {
            // Without the program's name, so that editors can follow FILE:LINE.
            writeln!(io::stderr(), "{error}").ok();
            return Exit::Usage.into();
        }
    };
    start_log();
    let read = move || arguments.config();
    let result = runtime.block_on(agent(config, kernel_log, signals, read));
    // Whoever is in the middle of a long list of flows does not keep the agent from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    finish(result)
}

fn start_log() {
    // What the kernel programs say is limited by --kernel-log alone.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,proxyip_ebpf=trace"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // It would be said with eprintln!, which panics if standard error is what failed.
        .log_internal_errors(false)
        .init();
}
