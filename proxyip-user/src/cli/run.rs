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
use crate::config::{Config, ConfigError, KernelLog, Names, PortRange, interfaces, network};
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
    /// Interface that the load balancer's packets come in on, or a pattern such as eth*; may be repeated.
    #[arg(
        long = "interface",
        value_name = "NAME",
        value_parser = interfaces,
        requires_all = ["ports", "trusted"]
    )]
    interfaces: Vec<Names>,
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
    /// The configuration as it is written.
    fn written(&self) -> Result<Config, ConfigError> {
        if let Some(path) = &self.config {
            return Config::from_file(path);
        }
        let (interfaces, trusted) = (self.interfaces.clone(), self.trusted.clone());
        Ok(Config::from_arguments(interfaces, &self.ports, trusted))
    }

    fn config(&self) -> Result<Config, ConfigError> {
        let written = self.written()?;
        if let Some(sentence) = self.moved(&written) {
            tracing::warn!("{sentence}");
        }
        Ok(self.change(written))
    }

    fn change(&self, mut config: Config) -> Config {
        if let Some(socket) = &self.socket {
            config.api.socket.clone_from(socket);
            config.origin.flags.push("api.socket");
        }
        if let Some(pin_path) = &self.pin_path {
            config.agent.pin_path.clone_from(pin_path);
            config.origin.flags.push("agent.pin_path");
        }
        config
    }

    /// A sentence if the agent does not answer where the configuration says. A variable of the environment moves the
    /// socket too, and whoever starts the agent may have it for other commands.
    fn moved(&self, written: &Config) -> Option<String> {
        let (here, there) = (self.socket.as_ref()?, &written.api.socket);
        (here != there).then(|| {
            format!(
                "the API's socket is {}, as --socket or PROXYIP_SOCKET says, and not {}",
                here.display(),
                there.display()
            )
        })
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
    let written = match arguments.written() {
        Ok(written) => written,
        Err(error) => {
            // Without the program's name, so that editors can follow FILE:LINE.
            writeln!(io::stderr(), "{error}").ok();
            return Exit::Usage.into();
        }
    };
    start_log();
    if let Some(sentence) = arguments.moved(&written) {
        tracing::warn!("{sentence}");
    }
    let config = arguments.change(written);
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn a_socket_that_is_moved_is_named() {
        let parse = |rest: &[&str]| {
            let command = ["run", "--interface", "eth0", "--port", "443", "--trust", "10.0.0.0/8"];
            Command::parse_from([&command[..], rest].concat()).arguments
        };
        let moved = parse(&["--socket", "/run/other.sock"]);
        let written = moved.written().unwrap();
        let sentence = moved.moved(&written).unwrap();
        assert!(
            sentence.contains("is /run/other.sock, as --socket or PROXYIP_SOCKET"),
            "{sentence}"
        );
        let configured = written.api.socket.display().to_string();
        assert!(sentence.ends_with(&configured), "{sentence}");
        assert_eq!(parse(&["--socket", &configured]).moved(&written), None);
        assert_eq!(moved.change(written).api.socket, PathBuf::from("/run/other.sock"));
    }
}
