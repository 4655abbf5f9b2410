//! Servers that read the PROXY protocol themselves.

use std::net::SocketAddr;

use super::kernel::site;
use super::wire::{Heard, Line, Reply};
use crate::conformance::vector::Vector;
use crate::conformance::verdict::{Named, Verdict};
use crate::servers::{AcceptProxy, Nginx};

const HAPROXY: u16 = 8081;
const NGINX: u16 = 8080;

/// What `HAProxy` and nginx say.
pub(in crate::conformance) fn servers(vectors: &[Vector]) -> [Vec<Verdict>; 2] {
    let site = site();
    let _haproxy = AcceptProxy::start(&site, HAPROXY);
    let _nginx = Nginx::proxy_protocol(&site, NGINX);
    [(HAPROXY, haproxy_client as Client), (NGINX, nginx_client)].map(|(port, client)| {
        let replies = Line { port, is_whole }.ask_all(&site, vectors);
        vectors.iter().zip(&replies).map(|(vector, reply)| verdict(vector, reply, client)).collect()
    })
}

/// Finds the client's address and port in the words of an answer.
type Client = fn(&[&str], SocketAddr) -> Named;

/// `ADDRESS PORT`.
fn haproxy_client(words: &[&str], peer: SocketAddr) -> Named {
    Named::from_words(words[0], words[1], peer)
}

/// `PEER_ADDRESS PEER_PORT ADDRESS PORT`.
fn nginx_client(words: &[&str], peer: SocketAddr) -> Named {
    Named::from_words(words[2], words[3], peer)
}

/// A head, and a body that ends with a line.
fn is_whole(answer: &[u8]) -> bool {
    body(answer).is_some_and(|body| body.ends_with(b"\n"))
}

fn body(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(&answer[end + 4..])
}

fn verdict(vector: &Vector, reply: &Reply, client: Client) -> Verdict {
    let answer = match &reply.heard {
        Heard::Answer(answer) => answer,
        Heard::End | Heard::Reset => return Verdict::Refused,
        Heard::Nothing => return Verdict::Waits,
    };
    let text = String::from_utf8_lossy(answer);
    match text.split(' ').nth(1) {
        Some("200") => {
            let body = String::from_utf8_lossy(body(answer).expect("the answer is whole"));
            let words: Vec<_> = body.trim_end_matches('\n').split(' ').collect();
            Verdict::Accepted(client(&words, reply.peer))
        }
        // It has read a header, and what follows is no request.
        Some("400") if vector.has_no_request() => Verdict::Accepted(Named::Untold),
        Some("400") => Verdict::Misread,
        _ => panic!("{}: answered {text:?}", vector.name),
    }
}
