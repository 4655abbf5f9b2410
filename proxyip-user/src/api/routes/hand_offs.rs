//! A listener's hand-offs as `GET /v1/status` reports them: what its connections got, and what new ones get.

use proxyip_api::status::{Connections, NewConnections};
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
