//! `proxyip flows`

use anyhow::Result;

use super::table::align;
use super::{Reading, print};
use crate::client;
use crate::flow::Flow;

/// List the live connections whose PROXY header was consumed.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    reading: Reading,
}

pub(super) async fn run(arguments: &Arguments) -> Result<()> {
    let (flows, json) = client::get::<Vec<Flow>>(&arguments.reading.socket, "/v1/flows").await?;
    if arguments.reading.json {
        return print([&json[..], b"\n"].concat());
    }
    print(table(&flows))
}

fn table(flows: &[Flow]) -> String {
    let head = ["CLIENT", "PEER", "LOCAL", "DESTINATION", "LISTENER", "ORIGIN", "VERSION"];
    let mut rows = vec![head.map(String::from)];
    rows.extend(flows.iter().map(|flow| {
        [
            flow.client.to_string(),
            flow.peer.to_string(),
            flow.local.to_string(),
            flow.destination.to_string(),
            flow.listener.clone().unwrap_or_else(|| "-".into()),
            flow.origin.to_string(),
            flow.version.to_string(),
        ]
    }));
    align(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::tests::{flows, key, record};

    #[test]
    fn columns_are_aligned() {
        let flow = flows().describe(&key("10.0.0.2:1"), &record());
        assert_eq!(
            table(&[flow]),
            "CLIENT             PEER        LOCAL         DESTINATION    LISTENER  ORIGIN   VERSION\n\
             203.0.113.9:51234  10.0.0.2:1  10.0.1.2:443  192.0.2.1:443  web       proxied  v2\n"
        );
        assert_eq!(table(&[]).lines().count(), 1);
    }
}
