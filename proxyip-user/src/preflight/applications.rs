//! Whether applications listen on the guarded ports, and how.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use proxyip_api::check::Subject;

use super::check::Check;
use super::listening::{Listening, listening};
use crate::config::{Config, HandOffChoice, Listener, port_ranges};
use crate::desired::targets::targets;
use crate::host::matching::files;
use crate::host::namespace::Namespace;

/// The interface with the loopback addresses.
const LOOPBACK: &str = "lo";

pub(crate) fn checks(config: &Config, has_kfunc: bool) -> Vec<Check> {
    match of_all_namespaces(config) {
        Ok(sockets) => {
            let listeners = config.listeners.iter();
            listeners.flat_map(|listener| of_listener(listener, &sockets, has_kfunc)).collect()
        }
        Err(error) => vec![Check::warning(Subject::Listener, format!("{error:#}"))],
    }
}

/// The listening sockets of all namespaces that could be entered.
#[derive(Debug, Default)]
struct Sockets {
    ports: BTreeMap<u16, Listening>,
    /// The namespaces that could not be opened.
    missing: Vec<String>,
}

/// A port is guarded in all namespaces, and the application is in one of them. Another check reports the namespaces
/// that cannot be entered.
fn of_all_namespaces(config: &Config) -> Result<Sockets> {
    let mut all = Sockets::default();
    for target in targets(&config.interfaces, files) {
        let loopback = target.names(LOOPBACK);
        let Ok(namespace) = Namespace::open(&target.netns) else {
            all.missing.push(target.netns.to_string());
            continue;
        };
        let ports = namespace.run(|| {
            listening().context(
                "the listening sockets cannot be listed (modprobe tcp_diag may help): see with `ss -tln` that \
                 something listens on each guarded port",
            )
        })?;
        for (port, mut found) in ports {
            found.beyond_loopback |= loopback;
            all.ports.entry(port).or_default().add(found);
        }
    }
    Ok(all)
}

fn of_listener(
    listener: &Listener,
    Sockets { ports, missing }: &Sockets,
    has_kfunc: bool,
) -> Vec<Check> {
    let name = &listener.name;
    let select = |wanted: &dyn Fn(Option<&Listening>) -> bool| -> Vec<u16> {
        listener.ports.iter().copied().filter(|port| wanted(ports.get(port))).collect()
    };
    let silent = select(&|found| found.is_none());
    let hidden = select(&|found| found.is_some_and(|found| !found.beyond_loopback));
    let multipath = select(&|found| found.is_some_and(|found| found.multipath));
    let mut checks = Vec::new();
    if !silent.is_empty() {
        let what_to_do = match &missing[..] {
            [] => {
                "start the application, or name its network namespace and its own interface".into()
            }
            missing => {
                format!("the application may be in {}, which is missing", missing.join(" or "))
            }
        };
        let silent = port_ranges(&silent);
        let sentence = format!("{name:?}: nothing listens on {silent}: {what_to_do}");
        checks.push(Check::warning(Subject::Listener, sentence));
    }
    if !hidden.is_empty() {
        checks.push(Check::warning(
            Subject::Listener,
            format!(
                "{name:?}: what listens on {} has a loopback address, which a load balancer cannot connect to: let \
                 the application listen on the address that it connects to, or on all",
                port_ranges(&hidden)
            ),
        ));
    }
    if has_kfunc && !multipath.is_empty() {
        let ports = port_ranges(&multipath);
        let found = format!("{name:?}: the application listens with an MPTCP socket on {ports}");
        match listener.hand_off {
            HandOffChoice::Auto => checks
                .push(Check::ok(Subject::Listener, format!("{found}, so connections are translated"))),
            HandOffChoice::Accept => checks.push(Check::warning(
                Subject::Listener,
                format!(
                    "{found}, which cannot be served with hand_off = \"accept\": write \"auto\", or switch MPTCP \
                     off in the application (Go: GODEBUG=multipathtcp=0)"
                ),
            )),
            HandOffChoice::Translate | HandOffChoice::Observe => {}
        }
    }
    if checks.is_empty() {
        let guarded = port_ranges(&listener.ports);
        checks.push(Check::ok(
            Subject::Listener,
            format!("{name:?}: something listens on {guarded}"),
        ));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::check::State;

    #[test]
    fn silent_ports_and_multipath_sockets_are_told_of() {
        let [plain, multipath] =
            [false, true].map(|multipath| Listening { multipath, beyond_loopback: true });
        let hidden = Listening { multipath: false, beyond_loopback: false };
        for (hand_off, sockets, expected) in [
            ("auto", vec![(80, plain), (81, plain)], vec![(State::Ok, "listens on 80-81")]),
            ("auto", vec![(80, plain)], vec![(State::Warning, "nothing listens on 81:")]),
            ("auto", vec![], vec![(State::Warning, "nothing listens on 80-81:")]),
            (
                "auto",
                vec![(80, hidden), (81, plain)],
                vec![(State::Warning, "what listens on 80 has a loopback address")],
            ),
            (
                "auto",
                vec![(80, multipath), (81, plain)],
                vec![(State::Ok, "MPTCP socket on 80, so connections are translated")],
            ),
            (
                "accept",
                vec![(80, multipath)],
                vec![(State::Warning, "nothing"), (State::Warning, "GODEBUG")],
            ),
            ("observe", vec![(80, multipath), (81, plain)], vec![(State::Ok, "listens on 80-81")]),
        ] {
            let toml = format!("ports=[80,81]\ntrusted=['10.0.0.0/8']\nhand_off='{hand_off}'\n");
            let config = Config::from_toml(&format!("[[listener]]\nname='web'\n{toml}")).unwrap();
            let sockets = Sockets { ports: sockets.into_iter().collect(), missing: Vec::new() };
            let checks = of_listener(&config.listeners[0], &sockets, true);
            assert_eq!(checks.len(), expected.len(), "{checks:?}");
            for (check, (state, part)) in checks.iter().zip(expected) {
                assert_eq!(check.state, state, "{check:?}");
                assert!(check.sentence.contains(part), "{check:?}");
            }
        }
    }

    #[test]
    fn a_namespace_that_is_missing_may_have_the_application() {
        let file = "[[interface]]\nnetns='/run/netns/nowhere'\n[[listener]]\nports=[80]\ntrusted=['10.0.0.0/8']\n";
        let checks = checks(&Config::from_toml(file).unwrap(), true);
        let [check] = &checks[..] else { panic!("{checks:?}") };
        assert_eq!(check.state, State::Warning);
        let part = "on 80: the application may be in network namespace /run/netns/nowhere, which is missing";
        assert!(check.sentence.ends_with(part), "{check:?}");
    }
}
