//! Guarded ports whose connections NAT gives to another port or host.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use proxyip_common::nat::{GuardedPort, Redirected};

use super::environment::Environment;
use crate::config::Netns;
use crate::desired::active::Active;
use crate::tables::redirected::RedirectedPorts;

/// What was last seen; a sentence for each port.
#[derive(Clone, Debug, Default)]
pub struct Found(Arc<Mutex<Vec<String>>>);

impl Found {
    /// The sentences.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what is seen now; returns what was not seen before.
    fn set(&self, now: Vec<String>) -> Vec<String> {
        let mut there = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = now.iter().filter(|sentence| !there.contains(sentence)).cloned().collect();
        *there = now;
        new
    }
}

/// Looks for redirected ports.
pub(crate) struct Redirects {
    ports: RedirectedPorts,
    environment: Environment,
    active: Arc<Active>,
    found: Found,
}

impl Redirects {
    pub(crate) fn new(
        ports: RedirectedPorts,
        environment: Environment,
        active: Arc<Active>,
        found: Found,
    ) -> Self {
        Self { ports, environment, active, found }
    }

    /// Names the listeners that are in force now.
    pub(crate) fn follow(&mut self, active: &Arc<Active>) {
        self.active = Arc::clone(active);
    }

    /// Logs each port when it is seen for the first time.
    pub(crate) fn check(&mut self) -> Result<()> {
        let ports = if self.environment.has_nat() { self.ports.all()? } else { Vec::new() };
        for sentence in self.found.set(sentences(&ports, &self.environment, &self.active)) {
            tracing::warn!("{sentence}");
        }
        Ok(())
    }
}

/// In the order of namespaces and ports.
fn sentences(
    ports: &[(GuardedPort, Redirected)],
    environment: &Environment,
    active: &Active,
) -> Vec<String> {
    let mut ports: Vec<_> = ports.iter().collect();
    ports.sort_by_key(|(at, _)| (at.namespace, at.port, at.ipv6));
    ports.into_iter().filter_map(|(at, seen)| sentence(*at, *seen, environment, active)).collect()
}

/// `None` if the rules have changed since, or no listener has the port.
fn sentence(
    GuardedPort { namespace, port, ipv6 }: GuardedPort,
    seen: Redirected,
    environment: &Environment,
    active: &Active,
) -> Option<String> {
    let (netns, nat_since_ns) = environment.nat_of(namespace)?;
    // The kernel programs look again after a while, and only if there are connections. The rule is there all the time.
    if nat_since_ns == 0 || seen.seen_ns <= nat_since_ns {
        return None;
    }
    let (_, listener) = active.listeners().find(|(_, one)| one.ports.contains(&port))?;
    let family = if ipv6 == 0 { "IPv4" } else { "IPv6" };
    let mut place = format!("port {port} of listener {:?} ({family}", listener.name);
    if let Netns::Path(path) = netns {
        write!(place, ", in {}", path.display()).ok()?;
    }
    Some(format!(
        "NAT gives connections to {place}) to another port or host, with their headers in place: guard the port that \
         gets them, or remove the rule of REDIRECT or DNAT (`nft list ruleset`, `iptables -t nat -S`)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const CHANGED_NS: u64 = 1000;

    fn sentences_of(ports: &[(u32, u16, u16, u64)]) -> Vec<String> {
        let environment = Environment::with_nat(&[
            (Netns::Host, 3, CHANGED_NS),
            (Netns::Path("/run/netns/blue".into()), 5, CHANGED_NS),
            (Netns::Path("/run/netns/free".into()), 6, 0),
        ]);
        let file = "[[listener]]\nname='web'\nports=[80, 443]\ntrusted=['10.0.0.0/8']\n";
        let active = Active::constant(Config::from_toml(file).unwrap()).borrow().clone();
        let port = |(namespace, port, ipv6, seen_ns): &_| {
            (
                GuardedPort { namespace: *namespace, port: *port, ipv6: *ipv6 },
                Redirected { seen_ns: *seen_ns },
            )
        };
        sentences(&ports.iter().map(port).collect::<Vec<_>>(), &environment, &active)
    }

    #[test]
    fn a_port_is_named_with_family_and_namespace() {
        let sentences = sentences_of(&[(5, 443, 1, CHANGED_NS + 1), (3, 80, 0, CHANGED_NS + 1)]);
        assert_eq!(sentences.len(), 2, "{sentences:?}");
        let begin = "NAT gives connections to port 80 of listener \"web\" (IPv4) to another port";
        assert!(sentences[0].starts_with(begin), "{sentences:?}");
        let part = "port 443 of listener \"web\" (IPv6, in /run/netns/blue) to another port";
        assert!(sentences[1].contains(part), "{sentences:?}");
    }

    #[test]
    fn what_is_over_or_not_guarded_is_not_named() {
        let after = CHANGED_NS + 1;
        for (why, port) in [
            ("the rules have changed", (3, 80, 0, CHANGED_NS)),
            ("there is no rule any more", (6, 80, 0, after)),
            ("no listener has the port", (3, 25, 0, after)),
            ("the namespace is another agent's", (9, 80, 0, after)),
        ] {
            assert_eq!(sentences_of(&[port]), [""; 0], "{why}");
        }
    }

    #[test]
    fn a_sentence_is_new_once_and_again_after_it_was_gone() {
        let found = Found::default();
        let set =
            |sentences: &[&str]| found.set(sentences.iter().map(ToString::to_string).collect());
        assert_eq!(set(&["a"]), ["a"]);
        assert_eq!(set(&["a", "b"]), ["b"]);
        assert_eq!(set(&[]), [""; 0]);
        assert_eq!(set(&["a"]), ["a"]);
        assert_eq!(found.sentences(), ["a"]);
    }
}
