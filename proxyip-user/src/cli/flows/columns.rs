//! What a table of flows can show.

use clap::ValueEnum;
use jiff::Timestamp;
use proxyip_api::flow::LiveFlow;

use crate::cli::duration::short;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Column {
    /// The client.
    Client,
    /// The load balancer's end.
    Peer,
    /// This host's end.
    Local,
    /// Where the client connected to.
    Destination,
    /// The listener's name.
    Listener,
    /// How the application got the connection: accept, translate or observe.
    HandOff,
    /// Whether the header named a client: proxied, local or unknown.
    Origin,
    /// The header's version.
    Version,
    /// How long the connection has been established.
    Age,
}

/// What is shown unless something else is asked for.
pub(super) const DEFAULT: [Column; 8] = [
    Column::Client,
    Column::Peer,
    Column::Local,
    Column::Destination,
    Column::Listener,
    Column::Origin,
    Column::Version,
    Column::Age,
];

impl Column {
    /// What stands above it.
    pub(super) fn head(self) -> String {
        let name = self.to_possible_value().expect("no column is hidden");
        name.get_name().to_uppercase()
    }

    fn cell(self, live: &LiveFlow, now: Timestamp) -> String {
        let flow = &live.flow;
        match self {
            Self::Client => flow.client.to_string(),
            Self::Peer => flow.peer.to_string(),
            Self::Local => flow.local.to_string(),
            Self::Destination => flow.destination.to_string(),
            Self::Listener => flow.listener.clone().unwrap_or_else(|| "-".into()),
            Self::HandOff => flow.hand_off.to_string(),
            Self::Origin => flow.origin.to_string(),
            Self::Version => flow.version.to_string(),
            Self::Age => age(&live.established, now).unwrap_or_else(|| "-".into()),
        }
    }
}

/// One line of the table.
pub(super) fn row(columns: &[Column], flow: &LiveFlow, now: Timestamp) -> Vec<String> {
    columns.iter().map(|column| column.cell(flow, now)).collect()
}

/// `None` if the time is none. The clock may have been set back meanwhile.
fn age(established: &str, now: Timestamp) -> Option<String> {
    let established: Timestamp = established.parse().ok()?;
    let seconds = now.as_second() - established.as_second();
    Some(short(seconds.max(0).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_from_now() {
        let now = "2026-11-20T20:50:01Z".parse().unwrap();
        for (established, expected) in [
            ("2026-11-20T20:50:01.123Z", Some("0s")),
            ("2026-11-20T20:49:00.999Z", Some("1m01s")),
            ("2026-11-21T00:00:00Z", Some("0s")),
            ("yesterday", None),
        ] {
            assert_eq!(age(established, now).as_deref(), expected, "{established}");
        }
    }

    #[test]
    fn heads_are_the_columns_names() {
        let heads: Vec<_> = Column::value_variants().iter().map(|column| column.head()).collect();
        assert_eq!(
            heads.join(" "),
            "CLIENT PEER LOCAL DESTINATION LISTENER HAND-OFF ORIGIN VERSION AGE"
        );
    }
}
