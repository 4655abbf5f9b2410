//! `proxyip acl`

mod words;

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use hyper::Method;
use hyper::body::Bytes;
use ipnet::IpNet;
use proxyip_api::acl::{Decision, Disconnected, Rule, Rules, Verdict};
use proxyip_api::acl::{MAX_DISCONNECTED, MAX_RULES};
use proxyip_api::status::Status;
use serde::de::IgnoredAny;

use super::exit::Exit;
use super::output::{fail, finish, print};
use super::reading::{Reading, ask};
use crate::client::{self, escaped};
use crate::{config, json};

/// Change, list and test who may connect.
///
/// Rules made here are in force at once. For the same network, they take precedence over the configuration. They last
/// until you remove them or the kernel programs, or until the host restarts.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Let clients connect, even if a shorter prefix denies them.
    Allow(Change),
    /// Keep clients from connecting.
    ///
    /// Connections that are established go on; `proxyip acl disconnect` ends them.
    Deny(Change),
    /// Remove rules that `acl allow` or `acl deny` has made.
    Remove(Change),
    List(List),
    Test(Test),
    Disconnect(Disconnect),
}

#[derive(Debug, Args)]
struct Change {
    /// Name of the listener.
    #[arg(value_name = "LISTENER")]
    listener: String,
    /// Networks, or addresses alone; several with spaces or commas between them.
    #[arg(value_name = "CIDR", required = true, value_delimiter = ',', value_parser = config::network_or_address)]
    networks: Vec<IpNet>,
    #[command(flatten)]
    reading: Reading,
}

/// List the rules, in the order of their networks.
///
/// The longest prefix wins. With --json, one object per line and listener.
#[derive(Debug, Args)]
struct List {
    /// Name of the listener; all, if absent.
    #[arg(value_name = "LISTENER")]
    listener: Option<String>,
    /// Only rules made by command for listeners that the configuration does not have.
    ///
    /// They are in force again when it has the listener.
    #[arg(long, conflicts_with = "listener")]
    orphaned: bool,
    #[command(flatten)]
    reading: Reading,
}

/// Print whether a client may connect, and by which rule.
///
/// Exit code: 0 allowed, 1 denied, 2 error.
#[derive(Debug, Args)]
struct Test {
    /// Name of the listener.
    #[arg(value_name = "LISTENER")]
    listener: String,
    /// Address of the client.
    #[arg(value_name = "CLIENT", value_parser = client_address)]
    client: IpAddr,
    #[command(flatten)]
    reading: Reading,
}

/// End the established connections whose clients are denied now.
///
/// Exit code: 0 all of them ended, 1 failed, or one could not be ended.
#[derive(Debug, Args)]
struct Disconnect {
    /// Name of the listener; all, if absent.
    #[arg(value_name = "LISTENER")]
    listener: Option<String>,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Debug, thiserror::Error)]
#[error("must be an address such as 203.0.113.9 or 2001:db8::9")]
struct NotAnAddress;

fn client_address(text: &str) -> Result<IpAddr, NotAnAddress> {
    text.parse::<IpAddr>().map(|address| address.to_canonical()).map_err(|_| NotAnAddress)
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.verb {
        Verb::Allow(change) => finish(ask(set(change, Verdict::Allow))),
        Verb::Deny(change) => finish(ask(set(change, Verdict::Deny))),
        Verb::Remove(change) => finish(ask(remove(change))),
        Verb::List(arguments) => finish(ask(list(arguments))),
        Verb::Test(arguments) => {
            yes_or_no(ask(test(arguments)), [Exit::Allowed, Exit::Denied, Exit::NoTest])
        }
        Verb::Disconnect(arguments) => {
            yes_or_no(ask(disconnect(arguments)), [Exit::Done, Exit::Failed, Exit::Failed])
        }
    }
}

/// The endings are for yes, for no, and after an error was printed.
fn yes_or_no(answer: Result<bool>, [yes, no, failed]: [Exit; 3]) -> ExitCode {
    match answer {
        Ok(true) => yes.into(),
        Ok(false) => no.into(),
        Err(error) => fail(format_args!("{error:#}"), failed),
    }
}

/// What is asked of one listener, as in `/v1/acl/web`.
fn path(listener: &str) -> String {
    format!("/v1/acl/{}", escaped(listener))
}

/// Prints the agent's JSON as a line, or `text`.
fn show(reading: &Reading, json: &Bytes, text: String) -> Result<()> {
    if reading.json { print([&json[..], b"\n"].concat()) } else { print(text) }
}

async fn set(Change { listener, networks, reading }: &Change, verdict: Verdict) -> Result<()> {
    for network in networks {
        let path = format!("{}?network={network}&verdict={}", path(listener), verdict.label());
        let (rule, json) = client::request::<Rule>(&reading.socket, Method::PUT, &path).await?;
        show(reading, &json, words::made(listener, &rule))?;
    }
    Ok(())
}

async fn remove(Change { listener, networks, reading }: &Change) -> Result<()> {
    for network in networks {
        let path = format!("{}?network={network}", path(listener));
        let (_, json) =
            client::request::<IgnoredAny>(&reading.socket, Method::DELETE, &path).await?;
        show(reading, &json, format!("{listener}: the rule for {network} is removed\n"))?;
    }
    Ok(())
}

async fn list(List { listener, orphaned, reading }: &List) -> Result<()> {
    let listeners = match listener {
        Some(name) => vec![name.clone()],
        None => names(&reading.socket, *orphaned).await?,
    };
    for (index, name) in listeners.iter().enumerate() {
        let rules = all_rules(&reading.socket, name).await?;
        let gap = if index == 0 { "" } else { "\n" };
        let json = json::to_vec(&rules)?.into();
        show(reading, &json, format!("{gap}{}", words::rules(&rules)))?;
    }
    Ok(())
}

/// Those of all pages.
async fn all_rules(socket: &Path, listener: &str) -> Result<Rules> {
    let first = format!("{}?limit={MAX_RULES}", path(listener));
    let (mut rules, _) = client::get::<Rules>(socket, &first).await?;
    while let Some(next) = rules.next.take() {
        let request = format!("{first}&cursor={}", escaped(&next.to_string()));
        let (page, _) = client::get::<Rules>(socket, &request).await?;
        rules.rules.extend(page.rules);
        rules.next = page.next;
    }
    Ok(rules)
}

/// The names of listeners that have rules: of all, or of those that the configuration does not have.
async fn names(socket: &Path, orphaned: bool) -> Result<Vec<String>> {
    let (status, _) = client::get::<Status>(socket, "/v1/status").await?;
    let away = status.orphaned.into_iter().map(|rules| rules.listener);
    let here = status.listeners.into_iter().map(|listener| listener.name);
    Ok(if orphaned { away.collect() } else { here.chain(away).collect() })
}

/// Prints the verdict; whether the client is allowed.
async fn test(Test { listener, client, reading }: &Test) -> Result<bool> {
    let path = format!("{}/test?client={client}", path(listener));
    let (decision, json) = client::get::<Decision>(&reading.socket, &path).await?;
    show(reading, &json, words::decision(&decision))?;
    Ok(decision.verdict == Verdict::Allow)
}

/// Prints the connections; whether all of them were ended.
async fn disconnect(Disconnect { listener, reading }: &Disconnect) -> Result<bool> {
    let path = match listener {
        Some(name) => format!("/v1/disconnect?listener={}", escaped(name)),
        None => "/v1/disconnect".into(),
    };
    loop {
        let (all, json) =
            client::request::<Vec<Disconnected>>(&reading.socket, Method::POST, &path).await?;
        show(reading, &json, words::disconnected(&all))?;
        let ended = all.iter().all(|connection| connection.error.is_none());
        if !ended || all.len() < MAX_DISCONNECTED {
            return Ok(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn networks_may_be_addresses() {
        for (text, canonical) in [
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("203.0.113.9", "203.0.113.9/32"),
            ("2001:db8::9", "2001:db8::9/128"),
            ("::ffff:203.0.113.9", "203.0.113.9/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(config::network_or_address(text).unwrap().to_string(), canonical);
        }
        for text in ["", "host", "203.0.113.9/24", "203.0.113.0/33", "::ffff:203.0.113.0/120"] {
            assert!(config::network_or_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn clients_are_addresses() {
        for (text, canonical) in [
            ("203.0.113.9", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("2001:DB8::9", "2001:db8::9"),
        ] {
            assert_eq!(client_address(text).unwrap().to_string(), canonical);
        }
        for text in ["", "host", "203.0.113.9/32", "203.0.113.9:1", "203.0.113"] {
            assert!(client_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn grammar() {
        for (line, right) in [
            ("acl allow web 203.0.113.9", true),
            ("acl deny web 203.0.113.0/24,2001:db8::/32 198.51.100.7 --json", true),
            ("acl remove web 203.0.113.0/24 --socket /x", true),
            ("acl list", true),
            ("acl list web", true),
            ("acl list --orphaned", true),
            ("acl list web --orphaned", false),
            ("acl test web ::1", true),
            ("acl disconnect", true),
            ("acl disconnect web", true),
            ("acl", false),
            ("acl allow web", false),
            ("acl deny web 203.0.113.9/24", false),
            ("acl list web api", false),
            ("acl test web", false),
            ("acl test web 203.0.113.0/24", false),
        ] {
            let parsed = Cli::try_parse_from(["proxyip"].into_iter().chain(line.split(' ')));
            assert_eq!(parsed.is_ok(), right, "{line}: {parsed:?}");
        }
    }
}
