//! Each network namespace of the configuration: whether it can be entered, its interfaces, its sysctls.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use proxyip_api::check::Subject;
use proxyip_common::settings::NamespaceSettings;

use super::check::Check;
use super::listening::listening;
use crate::bpf::strays;
use crate::config::{Config, HandOffChoice, Listener, Netns};
use crate::desired::targets::{Target, targets};
use crate::host::links::{self, check_interface};
use crate::host::matching::files;
use crate::host::namespace::{self, Namespace};
use crate::host::netlink::Dump;
use crate::host::sysctl;
use crate::lifecycle::patterns;

/// What decides about connections in a namespace.
struct Sysctls {
    /// Those of [`NamespaceSettings`].
    flags: u8,
    synack_retries: u64,
}

pub(crate) fn checks(config: &Config, has_kfunc: bool) -> Vec<Check> {
    let pin_path = &config.agent.pin_path;
    let mut checks = Vec::new();
    let mut seen = Vec::new();
    let mut patterns: Vec<_> = config.interfaces.iter().filter(|one| one.is_pattern()).collect();
    for Target { netns, named, sought, .. } in &targets(&config.interfaces, files) {
        let mut found = Vec::new();
        let entered = Namespace::open(netns).and_then(|namespace| {
            namespace.run(|| {
                let Dump { found: mut interfaces, unread } = links::all()?;
                let said =
                    format!("interfaces that cannot be read, and match no pattern: {unread}");
                found.extend((unread > 0).then(|| Check::warning(Subject::Interface, said)));
                interfaces.retain(|link| link.is_found_by(sought.iter().copied()));
                let mut interfaces: Vec<_> = interfaces.iter().map(|link| &*link.name).collect();
                patterns.retain(|entry| {
                    let matches = |name: &&str| entry.name.contains(name);
                    !(entry.netns.contains(netns) && interfaces.iter().any(matches))
                });
                interfaces.retain(|name| !named.contains(name));
                interfaces.splice(0..0, named.iter().copied());
                found.extend(interfaces.iter().map(|name| interface(name, netns, pin_path)));
                found.extend(own_balancer(config, &interfaces));
                found.extend(match read() {
                    Ok(sysctls) => of_sysctls(config, has_kfunc, &sysctls),
                    Err(error) => vec![Check::problem(Subject::Sysctl, format!("{error:#}"))],
                });
                namespace::inode()
            })
        });
        match entered {
            Ok(inode) if seen.contains(&inode) => {
                let sentence = "is named twice, by different names: name it once";
                found.push(Check::problem(Subject::Netns, sentence));
            }
            Ok(inode) => seen.push(inode),
            Err(error) => found.push(Check::problem(Subject::Netns, format!("{error:#}"))),
        }
        checks.extend(found.into_iter().map(|check| check.within(netns)));
    }
    let nothing = patterns.iter().map(|entry| patterns::sentence(entry));
    let finding = config.interfaces.iter().filter(|entry| !patterns.contains(entry));
    let sentences = nothing.chain(finding.filter_map(patterns::said_of_unmounted));
    checks.extend(sentences.map(|sentence| Check::warning(Subject::Interface, sentence)));
    checks
}

/// A warning if the agent with this process id is in another namespace than this command; `again` runs the command once
/// more.
pub(crate) fn elsewhere(agent: u32, again: &str) -> Option<Check> {
    let own = namespace::inode().ok()?;
    let its = fs::metadata(format!("/proc/{agent}/ns/net")).ok()?.ino();
    (its != own).then(|| {
        Check::warning(
            Subject::Netns,
            format!(
                "the agent, process {agent}, runs in another network namespace than this command, which looks at its own: \
                 nsenter --target {agent} --net {again}"
            ),
        )
    })
}

fn interface(name: &str, netns: &Netns, pin_path: &Path) -> Check {
    let found = check_interface(name, netns).and_then(|()| strays::check(pin_path, &[name]));
    Check::of(Subject::Interface, found.map(|()| name.into()))
}

/// A load balancer on this host connects to the host's own address over `lo`, whatever interface has the address.
fn own_balancer(config: &Config, interfaces: &[&str]) -> Option<Check> {
    if interfaces.contains(&"lo") {
        return None;
    }
    let own = getifaddrs().ok()?.filter_map(|one| {
        let storage = one.address?;
        let v4 = storage.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|address| address.ip().into()))
    });
    let own: Vec<_> = own.filter(|address| !address.is_loopback()).collect();
    // In a namespace without its applications, a listener has nobody to show the headers to.
    let ports = listening().ok()?;
    let listeners = config.listeners.iter();
    let mut heard =
        listeners.filter(|listener| listener.ports.iter().any(|port| ports.contains_key(port)));
    heard.find_map(|listener| trusted_address(listener, &own)).map(|(listener, address)| {
        Check::warning(
            Subject::Interface,
            format!(
                "{listener:?} trusts {address}, an address of this host: a load balancer here connects over lo, which \
                 no [[interface]] names, so applications would read its headers: add [[interface]] name = \"lo\""
            ),
        )
    })
}

/// One of these addresses that a listener trusts by itself, and not only as a part of a network.
fn trusted_address<'a>(listener: &'a Listener, own: &[IpAddr]) -> Option<(&'a str, IpAddr)> {
    let alone = |address: &&IpAddr| listener.trusted.written.contains(&IpNet::from(**address));
    own.iter().find(alone).map(|address| (&*listener.name, *address))
}

fn read() -> Result<Sysctls> {
    Ok(Sysctls { flags: sysctl::read()?.settings.flags, synack_retries: sysctl::synack_retries()? })
}

/// The sysctls with a wrong value. One line if all are right.
fn of_sysctls(config: &Config, has_kfunc: bool, sysctls: &Sysctls) -> Vec<Check> {
    let listeners = || config.listeners.iter().map(|listener| listener.hand_off);
    let hands_over = |choice| matches!(choice, HandOffChoice::Auto | HandOffChoice::Accept);
    let mut checks = Vec::new();
    if has_kfunc && listeners().any(hands_over) {
        checks.extend(handing_over(config, sysctls.flags));
    }
    for (flag, name, loss) in [
        (
            NamespaceSettings::TIMESTAMPS,
            Subject::TcpTimestamps,
            "round-trip times are measured worse",
        ),
        (NamespaceSettings::WINDOW_SCALING, Subject::TcpWindowScaling, "windows end at 64 KB"),
        (
            NamespaceSettings::SACK,
            Subject::TcpSack,
            "what is lost is sent again with more beside it",
        ),
    ] {
        if sysctls.flags & flag == 0 {
            let key = format!("net.ipv4.{}", name.label());
            let sentence = format!("{key} is 0, so that {loss}: sysctl -w {key}=1");
            checks.push(Check::warning(name, sentence));
        }
    }
    let translates = !has_kfunc || listeners().any(|choice| choice == HandOffChoice::Translate);
    if translates && sysctls.synack_retries < 5 {
        checks.push(synack_retries(sysctls.synack_retries));
    }
    if checks.is_empty() {
        checks.push(Check::ok(Subject::Sysctl, "as proxyip wants them"));
    }
    checks
}

/// The accept hand-off ends without these.
fn handing_over(config: &Config, flags: u8) -> Vec<Check> {
    let accept = config.listeners.iter().find(|one| one.hand_off == HandOffChoice::Accept);
    let then = match accept {
        Some(listener) => format!(
            "connections of listener {:?} are not handed over, as its hand_off = \"accept\" asks",
            listener.name
        ),
        None => "connections are translated instead of accepted".into(),
    };
    let needed = [
        (NamespaceSettings::SYNCOOKIES, Subject::TcpSyncookies, "net.ipv4.tcp_syncookies"),
        (
            NamespaceSettings::CONNTRACK_LOOSE,
            Subject::NfConntrackTcpLoose,
            "net.netfilter.nf_conntrack_tcp_loose",
        ),
    ];
    let missing = needed.into_iter().filter(|(flag, ..)| flags & flag == 0);
    let warning = |(_, name, key)| {
        Check::warning(name, format!("{key} is 0, so that {then}: sysctl -w {key}=1"))
    };
    missing.map(warning).collect()
}

/// After `retries` times, with the time doubled from one second on (RFC 6298 §5.5), the kernel gives up.
fn synack_retries(retries: u64) -> Check {
    let seconds = (2 << retries) - 1;
    Check::warning(
        Subject::TcpSynackRetries,
        format!(
            "net.ipv4.tcp_synack_retries is {retries}, so that connections are reset whose header comes later \
             than {seconds} s, if they are translated: sysctl -w net.ipv4.tcp_synack_retries=5"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Names, Namespaces};
    use crate::preflight::check::State;

    const FINE: u8 = NamespaceSettings::SYNCOOKIES
        | NamespaceSettings::CONNTRACK_LOOSE
        | NamespaceSettings::TIMESTAMPS
        | NamespaceSettings::WINDOW_SCALING
        | NamespaceSettings::SACK;

    fn config(hand_off: &str) -> Config {
        let listener = format!("hand_off='{hand_off}'\ntrusted=['10.0.0.0/8']\n");
        Config::from_toml(&format!("[[listener]]\nports=[443]\n{listener}")).unwrap()
    }

    #[test]
    fn only_sysctls_that_matter_are_warned_of() {
        let cookies_off = FINE & !NamespaceSettings::SYNCOOKIES;
        let sack_off = FINE & !NamespaceSettings::SACK;
        for (hand_off, has_kfunc, flags, retries, expected) in [
            ("auto", true, FINE, 5, None),
            ("auto", true, cookies_off, 5, Some("translated instead of accepted")),
            ("auto", false, cookies_off, 5, None),
            ("accept", true, cookies_off, 5, Some("hand_off = \"accept\"")),
            ("translate", true, cookies_off, 5, None),
            ("observe", true, cookies_off, 1, None),
            ("observe", true, sack_off, 5, Some("net.ipv4.tcp_sack=1")),
            ("auto", true, FINE, 3, None),
            ("auto", false, FINE, 3, Some("later than 15 s")),
            ("translate", true, FINE, 4, Some("later than 31 s")),
        ] {
            let sysctls = Sysctls { flags, synack_retries: retries };
            let checks = of_sysctls(&config(hand_off), has_kfunc, &sysctls);
            let [check] = &checks[..] else { panic!("{checks:?}") };
            match expected {
                None => assert_eq!(check.state, State::Ok, "{check:?}"),
                Some(part) => {
                    assert_eq!(check.state, State::Warning, "{check:?}");
                    assert!(check.sentence.contains(part), "{check:?}");
                }
            }
        }
    }

    #[test]
    fn a_trusted_address_of_the_host_itself_is_found() {
        let mut config = config("auto");
        let own = ["10.0.0.7", "2001:db8::7"].map(|address| address.parse().unwrap());
        assert_eq!(trusted_address(&config.listeners[0], &own), None);
        config.listeners[0].trusted.written.push("2001:db8::7/128".parse().unwrap());
        assert_eq!(trusted_address(&config.listeners[0], &own), Some(("default", own[1])));
    }

    #[test]
    fn interfaces_and_namespaces_that_are_missing_are_problems() {
        let mut config = config("auto");
        config.interfaces[0].name = Names::One("lo".into());
        let states = |config: &Config| {
            let checks = checks(config, true).into_iter();
            checks.map(|one| (one.check, one.state)).collect::<Vec<_>>()
        };
        assert!(states(&config).contains(&(Subject::Interface, State::Ok)));
        config.interfaces[0].name = Names::One("nowhere0".into());
        assert!(states(&config).contains(&(Subject::Interface, State::Problem)));
        config.interfaces[0].netns = Namespaces::One(Netns::Path("/run/netns/nowhere".into()));
        assert_eq!(states(&config), [(Subject::Netns, State::Problem)]);
    }
}
