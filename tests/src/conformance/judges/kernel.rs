//! proxyip at work: a connection that its kernel programs hand to an application.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde_json::Value;

use super::wire::{Heard, Line, Reply};
use crate::agent::Agent;
use crate::conformance::vector::Vector;
use crate::conformance::verdict::{Named, Outcome, Verdict};
use crate::guard::Guard;
use crate::hand_off::HandOff;
use crate::net::{Offloads, Plan};
use crate::servers::EchoServer;
use crate::site::Site;
use crate::wait::eventually;

const PORT: u16 = 80;
/// Large enough for the longest accepted header in one segment.
pub(super) const MTU: u32 = 9001;

/// What an application that knows nothing of the PROXY protocol gets to see of each vector, with what the flow
/// log says of it.
pub(in crate::conformance) fn kernel(hand_off: HandOff, vectors: &[Vector]) -> Vec<Outcome> {
    let site = site();
    let _echo = EchoServer::start(&site.net.server, "::", PORT);
    let agent = Agent::start(&site, &Guard::ports(&[PORT]).hand_off(hand_off));
    let line = Line { port: PORT, is_whole: |answer| answer.contains(&b'\n') };
    let replies = line.ask_all(&site, vectors);
    // Each reset connection must be in the log. The agent writes the log a moment later.
    let log = eventually("a line of the flow log for each connection that was reset", || {
        let log = decisions(&agent);
        let is_logged = |reply: &Reply| {
            reply.heard != Heard::Reset || log.contains_key(&reply.peer.to_string())
        };
        replies.iter().all(is_logged).then_some(log)
    });
    let outcome = |(vector, reply): (&Vector, &Reply)| {
        let verdict = verdict(vector, reply);
        let label = log.get(&reply.peer.to_string()).cloned().unwrap_or_default();
        Outcome { verdict, label }
    };
    vectors.iter().zip(&replies).map(outcome).collect()
}

pub(super) fn site() -> Site {
    Site::without_captures_with(&Plan { mtu: MTU, offloads: Offloads::NONE, faults: None })
}

/// For each peer, the origin or the reason that the flow log names.
fn decisions(agent: &Agent) -> HashMap<String, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let of_line = |line: &Value| {
        let field = match line["event"].as_str()? {
            "accept" => "origin",
            "refuse" => "reason",
            _ => return None,
        };
        Some((text(&line["peer"])?, text(&line[field])?))
    };
    agent.flow_log().iter().filter_map(of_line).collect()
}

fn verdict(vector: &Vector, reply: &Reply) -> Verdict {
    match &reply.heard {
        Heard::Answer(answer) => names(vector, answer, reply.peer),
        Heard::Reset => Verdict::Refused,
        Heard::Nothing => Verdict::Waits,
        // The server ends a connection only after its client has.
        Heard::End => Verdict::Misread,
    }
}

/// Reads the server's `ACCEPTED NAMED "LINE"`.
fn names(vector: &Vector, answer: &[u8], peer: SocketAddr) -> Verdict {
    let answer = String::from_utf8_lossy(answer).into_owned();
    let mut words = answer.lines().next().unwrap_or_default().splitn(3, ' ');
    let mut next = || words.next().unwrap_or_else(|| panic!("{}: {answer:?}", vector.name));
    let mut name = || next().parse::<SocketAddr>().expect("an address and port");
    let (accepted, named) = (name(), name());
    assert_eq!(accepted, named, "{}: accept() and getpeername()", vector.name);
    let first = vector.rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if next() != format!("{:?}", String::from_utf8_lossy(first)) {
        return Verdict::Misread;
    }
    let client = Named::client(named);
    Verdict::Accepted(if client == Named::client(peer) { Named::Peer } else { client })
}
