//! A connection of the load balancer, with a client of its own in its header.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use proxyip_api::flow::LiveFlow;
use proxyip_tests::servers::PeerNames;
use proxyip_tests::{Agent, Dial, HandOff, address, header, read_line_or_error, visitors};

/// A guarded port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door {
    pub(crate) port: u16,
    pub(crate) hand_off: HandOff,
}

/// A connection whose application knows its client.
pub(crate) struct Talk {
    door: Door,
    stream: TcpStream,
    client: SocketAddr,
}

impl Talk {
    /// Opens it, and compares the client that the application has got. The calling thread is in the load balancer's
    /// namespace.
    ///
    /// # Errors
    /// A sentence: it is lost, or has another client.
    pub(crate) fn open(door: Door, number: u64) -> Result<Self, String> {
        let client = SocketAddr::new(visitors::address_of(2 * number), 40_000);
        let lost = |error| format!("{door:?}, client {client}: {error}");
        let stream = Dial::to(address::SERVER, door.port).attempt_here().map_err(lost)?;
        let destination = stream.peer_addr().map_err(lost)?;
        let question = format!("ask {number}");
        let bytes = [&header::v1(client, destination), question.as_bytes(), b"\n"].concat();
        (&stream).write_all(&bytes).map_err(lost)?;
        let (names, line) = PeerNames::read_or_error(&stream).map_err(lost)?;
        let talk = Self { door, stream, client };
        let is_right = if door.hand_off == HandOff::Observe {
            // The application reads the header, and then the question.
            let next = read_line_or_error(&talk.stream).map_err(lost)?;
            line.starts_with(&format!("\"PROXY TCP4 {} ", client.ip())) && next == question
        } else {
            names.accepted == client && names.named == client && line == format!("{question:?}")
        };
        if is_right { Ok(talk) } else { Err(format!("{door:?}, client {client}: {names} {line}")) }
    }

    /// Sends a line, which comes back.
    ///
    /// # Errors
    /// A sentence: it does not.
    pub(crate) fn say(&self) -> Result<(), String> {
        let Self { door, stream, client } = self;
        let mut writing = stream;
        let line = writing.write_all(b"and more\n").and_then(|()| read_line_or_error(stream));
        match line {
            Ok(line) if line == "and more" => Ok(()),
            other => Err(format!("{door:?}, client {client}: {other:?}")),
        }
    }

    /// Whether the agent knows its client.
    ///
    /// # Errors
    /// A sentence: it does not.
    pub(crate) fn is_known(&self, agent: &Agent) -> Result<(), String> {
        let Self { door, stream, client } = self;
        let peer = stream.local_addr().expect("an address").to_string();
        let answer =
            agent.ask(&["lookup", &peer, &format!("{}:{}", address::SERVER, door.port), "--json"]);
        let found = serde_json::from_str::<LiveFlow>(&answer.stdout);
        match found {
            Ok(found) if found.flow.client == *client => Ok(()),
            _ => Err(format!("{door:?}, client {client}: lookup of {peer} says {answer:?}")),
        }
    }
}
