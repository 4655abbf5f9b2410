//! A listener's hand-offs as `GET /v1/status` reports them: what its connections got, and what new ones get.

use proxyip_api::status::{Connections, DegradedPort, NewConnections};
use proxyip_common::counter::Obstacle;
use proxyip_common::flow::HandOff;

use crate::config::{HandOffChoice, Netns};
use crate::tables::listeners::ListenerCounts;
use crate::watch::environment::LocatedObstacle;

/// What new connections get with this choice, and why.
pub(crate) fn new_connections(
    choice: HandOffChoice,
    obstacle: Option<&LocatedObstacle>,
) -> NewConnections {
    let configured = || Obstacle::Configured.sentence().into();
    let (hand_off, why) = match (choice, obstacle) {
        (HandOffChoice::Translate, _) => (HandOff::Translate, configured()),
        (HandOffChoice::Observe, _) => (HandOff::Observe, configured()),
        (HandOffChoice::Accept, None) => (HandOff::Accept, configured()),
        (HandOffChoice::Accept, Some(obstacle)) => {
            let why = sentence(obstacle);
            (HandOff::Accept, format!("{why}: they are left to the kernel, header in place"))
        }
        (HandOffChoice::Auto, Some(obstacle)) => (HandOff::Translate, sentence(obstacle)),
        (HandOffChoice::Auto, None) => {
            (HandOff::Accept, "the kernel and its settings allow it".into())
        }
    };
    NewConnections { hand_off: hand_off.label().into(), why }
}

/// The same where ports have fallen back to translate, each for its own reason. The listener has `ports` in so many
/// network namespaces; a port may have fallen back in one of them alone.
pub(crate) fn with_fallbacks(
    new: NewConnections,
    (ports, namespaces): (&[u16], usize),
    degraded: &[DegradedPort],
) -> NewConnections {
    if degraded.is_empty() || new.hand_off != HandOff::Accept.label() {
        return new;
    }
    let fallen = |port: &u16| degraded.iter().filter(|one| one.port == *port).count();
    let all = ports.iter().all(|port| fallen(port) >= namespaces.max(1));
    let same = degraded.iter().all(|one| one.reason == degraded[0].reason);
    let why = if all && same { because(&degraded[0]).into() } else { each(degraded) };
    if all {
        NewConnections { hand_off: HandOff::Translate.label().into(), why }
    } else {
        NewConnections { why: format!("{}, but some are translated: {why}", new.why), ..new }
    }
}

/// Why connections to each of these ports are translated.
fn each(degraded: &[DegradedPort]) -> String {
    let sentence = |one: &DegradedPort| {
        let place = if one.netns == "host" { String::new() } else { format!(" in {}", one.netns) };
        format!("port {}{place}: {}", one.port, because(one))
    };
    degraded.iter().map(sentence).collect::<Vec<_>>().join("; ")
}

fn because(port: &DegradedPort) -> &'static str {
    let reason = Obstacle::ALL.iter().find(|one| one.label() == port.reason);
    reason.map_or("its last connections were not accepted", |one| one.sentence())
}

fn sentence(obstacle: &LocatedObstacle) -> String {
    let sentence = obstacle.obstacle.sentence();
    match &obstacle.netns {
        None => sentence.into(),
        Some(Netns::Host) => format!("{sentence} (in the agent's own network namespace)"),
        Some(Netns::Path(path)) => format!("{sentence} (in {})", path.display()),
    }
}

/// The connections that there were.
pub(crate) fn connections(counts: &ListenerCounts) -> Vec<Connections> {
    let new = |hand_off: HandOff, reason: Option<Obstacle>, count| Connections {
        hand_off: hand_off.label().into(),
        reason: reason.map(|reason| reason.label().into()),
        sentence: reason.map(|reason| reason.sentence().into()),
        count,
    };
    let translate = counts
        .translate
        .iter()
        .map(|(reason, count)| new(HandOff::Translate, Some(*reason), *count));
    std::iter::once(new(HandOff::Accept, None, counts.accept))
        .chain(translate)
        .chain([new(HandOff::Observe, None, counts.observe)])
        .filter(|connections| connections.count > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn what_new_connections_get_and_why() {
        use HandOffChoice::{Accept, Auto, Observe, Translate};
        let forbidden = LocatedObstacle { obstacle: Obstacle::SynCookiesOff, netns: None };
        let in_blue = LocatedObstacle {
            netns: Some(Netns::Path("/run/netns/blue".into())),
            ..forbidden.clone()
        };
        let off = "net.ipv4.tcp_syncookies is 0";
        for (choice, obstacle, hand_off, why) in [
            (Auto, None, "accept", "the kernel and its settings allow it"),
            (Auto, Some(&forbidden), "translate", off),
            (Auto, Some(&in_blue), "translate", &format!("{off} (in /run/netns/blue)")),
            (Accept, None, "accept", "the listener's hand_off says so"),
            (
                Accept,
                Some(&forbidden),
                "accept",
                &format!("{off}: they are left to the kernel, header in place"),
            ),
            (Translate, Some(&forbidden), "translate", "the listener's hand_off says so"),
            (Observe, None, "observe", "the listener's hand_off says so"),
        ] {
            let expected = NewConnections { hand_off: hand_off.into(), why: why.into() };
            assert_eq!(new_connections(choice, obstacle), expected);
        }
    }

    #[test]
    fn each_port_that_falls_back_has_its_own_reason() {
        let port = |port, netns: &str, reason: Obstacle| DegradedPort {
            port,
            netns: netns.into(),
            reason: reason.label().into(),
            retry_s: 9,
        };
        let [refused, delayed] = [Obstacle::StackRefuses, Obstacle::Delayed];
        let blue = "/run/netns/blue";
        let within = |namespaces: usize, degraded: &[DegradedPort]| {
            let new = new_connections(HandOffChoice::Auto, None);
            let new = with_fallbacks(new, (&[80, 443], namespaces), degraded);
            (new.hand_off.into_owned(), new.why)
        };
        let new = |degraded: &[DegradedPort]| within(1, degraded);
        let fine = "the kernel and its settings allow it";
        assert_eq!(new(&[]), ("accept".into(), fine.into()));
        let one = new(&[port(443, "host", delayed)]);
        let why = format!("{fine}, but some are translated: port 443: {}", delayed.sentence());
        assert_eq!(one, ("accept".into(), why));
        let both = [port(80, "host", refused), port(443, "host", refused)];
        assert_eq!(new(&both), ("translate".into(), refused.sentence().into()));
        let why = format!("port 80: {}; port 443: {}", refused.sentence(), delayed.sentence());
        let both = [port(80, "host", refused), port(443, "host", delayed)];
        assert_eq!(new(&both), ("translate".into(), why));
        // Each is accepted in the other namespace.
        let why = format!(
            "{fine}, but some are translated: port 80: {}; port 443 in {blue}: {}",
            refused.sentence(),
            delayed.sentence()
        );
        let one_each = [port(80, "host", refused), port(443, blue, delayed)];
        assert_eq!(within(2, &one_each), ("accept".into(), why));
        let all = ["host", blue].map(|netns| [80, 443].map(|one| port(one, netns, refused)));
        assert_eq!(within(2, &all.concat()), ("translate".into(), refused.sentence().into()));
    }

    #[test]
    fn only_what_there_was_is_told() {
        let counts = ListenerCounts {
            accept: 0,
            observe: 2,
            translate: vec![(Obstacle::Mptcp, 5), (Obstacle::TimeWait, 0)],
            ..ListenerCounts::default()
        };
        let told: Vec<_> = connections(&counts)
            .into_iter()
            .map(|one| (one.hand_off.into_owned(), one.reason.map(Cow::into_owned), one.count))
            .collect();
        let expected = [("translate".into(), Some("mptcp".into()), 5), ("observe".into(), None, 2)];
        assert_eq!(told, expected);
    }
}
