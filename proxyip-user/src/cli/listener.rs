//! `proxyip listener`

use anyhow::Result;
use clap::{Args, Subcommand};
use hyper::Method;
use proxyip_api::drain::Drained;

use super::output::print;
use super::reading::Reading;
use crate::client::{self, escaped};
use crate::config::port_ranges;

/// Refuse the new connections of a listener, or take them again.
///
/// New connections of trusted sources are refused with a RST. Established connections go on, and so do those whose
/// header is on its way. Sources that are not trusted get what `untrusted` says, as before. A drained port stays
/// drained when the agent is restarted or reloads. It takes connections again when you resume it, when the kernel programs
/// are detached, or when the host restarts.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Refuse new connections with a RST; established ones go on.
    Drain(Which),
    /// Take new connections again.
    Resume(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// Name of the listener.
    #[arg(value_name = "LISTENER")]
    listener: String,
    /// One of its ports; all, if absent.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    #[command(flatten)]
    reading: Reading,
}

pub(super) async fn run(arguments: &Arguments) -> Result<()> {
    let (verb, Which { listener, port, reading }) = match &arguments.verb {
        Verb::Drain(which) => ("drain", which),
        Verb::Resume(which) => ("resume", which),
    };
    let port = port.map(|port| format!("?port={port}")).unwrap_or_default();
    let path = format!("/v1/listeners/{}/{verb}{port}", escaped(listener));
    let (drained, json) = client::request::<Drained>(&reading.socket, Method::POST, &path).await?;
    if reading.json { print([&json[..], b"\n"].concat()) } else { print(words(&drained)) }
}

fn words(Drained { listener, ports }: &Drained) -> String {
    match &ports[..] {
        [] => format!("{listener}: new connections to all ports are taken\n"),
        ports => format!(
            "{listener}: new connections are refused, established ones go on: ports {}\n\
             `proxyip listener resume {listener}` takes new connections again\n",
            port_ranges(ports)
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn grammar() {
        for (line, right) in [
            ("listener drain web", true),
            ("listener drain web --port 443 --json", true),
            ("listener resume web --port 443 --socket /x", true),
            ("listener", false),
            ("listener drain", false),
            ("listener drain web --port 0", false),
            ("listener drain web --port https", false),
        ] {
            let parsed = Cli::try_parse_from(["proxyip"].into_iter().chain(line.split(' ')));
            assert_eq!(parsed.is_ok(), right, "{line}: {parsed:?}");
        }
    }

    #[test]
    fn what_is_drained_is_named() {
        let drained =
            |ports: &[u16]| words(&Drained { listener: "web".into(), ports: ports.into() });
        let text = drained(&[443, 8000, 8001]);
        let end =
            "ports 443, 8000-8001\n`proxyip listener resume web` takes new connections again\n";
        assert!(text.ends_with(end), "{text}");
        assert_eq!(drained(&[]), "web: new connections to all ports are taken\n");
    }
}
