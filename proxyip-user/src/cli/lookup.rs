//! `proxyip lookup`

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use hyper::StatusCode;
use proxyip_api::flow::Flow;
use proxyip_common::address::Endpoint;

use super::exit::Exit;
use super::output::{fail, print};
use super::reading::{Reading, ask};
use crate::client::{self, ClientError};

/// Print the client of a connection.
///
/// PEER is the load balancer's end, from which the connection's packets come. LOCAL is this host's end. They are written
/// as in `10.0.0.2:41000 10.0.1.2:443` or `[fd00::2]:41000 [fd00::1]:443`.
///
/// Exit code: 0 found, 1 not found, 2 error.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The load balancer's end of the connection.
    #[arg(value_name = "PEER", value_parser = address)]
    peer: SocketAddr,
    /// This host's end of the connection.
    #[arg(value_name = "LOCAL", value_parser = address)]
    local: SocketAddr,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Debug, thiserror::Error)]
#[error("must be IP:PORT such as 10.0.0.2:41000 or [fd00::2]:41000")]
struct NotAnAddress;

fn address(text: &str) -> Result<SocketAddr, NotAnAddress> {
    let address: SocketAddr = text.parse().map_err(|_| NotAnAddress)?;
    // As in the flow table: IPv4-mapped addresses are IPv4, and there are no scopes.
    Ok(Endpoint::from(address).to_socket_addr())
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match ask(find(arguments)) {
        Ok(true) => Exit::Found.into(),
        Ok(false) => Exit::NotFound.into(),
        Err(error) => fail(format_args!("{error:#}"), Exit::NoLookup),
    }
}

/// Prints the flow; `false` if it is not known.
async fn find(arguments: &Arguments) -> Result<bool> {
    let Arguments { peer, local, reading } = arguments;
    let path = format!("/v1/flows/lookup?peer={peer}&local={local}");
    match client::get::<Flow>(&reading.socket, &path).await {
        Ok((_, json)) if reading.json => print([&json[..], b"\n"].concat())?,
        Ok((flow, _)) => print(format!("{}\n", flow.client))?,
        Err(ClientError::Refused { status: StatusCode::NOT_FOUND, sentence }) => {
            fail(sentence, Exit::NotFound);
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_strict() {
        for (text, canonical) in [
            ("10.0.0.2:41000", "10.0.0.2:41000"),
            ("[fd00::2]:443", "[fd00::2]:443"),
            ("[::ffff:10.0.0.2]:443", "10.0.0.2:443"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), canonical);
        }
        for text in
            ["10.0.0.2", "10.0.0.2:", "10.0.0.2:65536", "fd00::2:443", "host:80", "10.1:80", ""]
        {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
