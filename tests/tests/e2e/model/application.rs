//! The application: it tells each client whom it takes it for, and how much came before the question.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use proxyip_tests::Namespace;

/// What a client sends behind its header, if it sends one.
pub(super) const QUESTION: &[u8] = b"who am I?\n";

/// A client asks before this, or not at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers on a port of both families, for the rest of the process's life.
pub(super) fn start(namespace: &Namespace, port: u16) {
    let listener = namespace.enter(|| TcpListener::bind(("::", port))).expect("a listener");
    thread::spawn(move || {
        while let Ok((connection, peer)) = listener.accept() {
            thread::spawn(move || answer(connection, peer));
        }
    });
}

fn answer(mut connection: TcpStream, peer: SocketAddr) {
    let _ = connection.set_read_timeout(Some(PATIENCE));
    let (mut came, mut buffer) = (Vec::new(), [0; 512]);
    while !came.ends_with(QUESTION) {
        match connection.read(&mut buffer) {
            Ok(length @ 1..) => came.extend_from_slice(&buffer[..length]),
            _ => return,
        }
    }
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let _ = writeln!(connection, "{peer} {}", came.len() - QUESTION.len());
    // The client ends it, so that the next one from its port is not refused.
    let _ = connection.read(&mut buffer);
}
