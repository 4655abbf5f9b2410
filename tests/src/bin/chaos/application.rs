//! The application: it notes whom it takes for its client, and what it reads first.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use proxyip_tests::{Namespace, address};

use crate::book::{Book, Unguarded};

/// What a question begins with; a number and the end of the line follow.
pub(crate) const QUESTION: &str = "ask ";
/// What an answer begins with.
pub(crate) const ANSWER: &str = "for ";

/// No line is longer.
const LONGEST: usize = 128;
/// A client says something before this, or nothing any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// Listens on both families, for the rest of the process's life.
pub(crate) fn start(namespace: &Namespace, port: u16, book: &Arc<Book>) {
    let listener = namespace.enter(|| TcpListener::bind(("::", port))).expect("a listener");
    let book = Arc::clone(book);
    thread::spawn(move || {
        while let Ok((connection, accepted)) = listener.accept() {
            let book = Arc::clone(&book);
            thread::spawn(move || serve(connection, accepted, &book));
        }
    });
}

/// One connection, with as many questions as the client has.
fn serve(mut connection: TcpStream, accepted: SocketAddr, book: &Book) {
    let Ok(peer) = connection.peer_addr() else { return };
    let names = [accepted, peer].map(|name| SocketAddr::new(name.ip().to_canonical(), name.port()));
    let port = connection.local_addr().map_or(0, |own| own.port());
    let _ = connection.set_read_timeout(Some(PATIENCE));
    let begun = Instant::now();
    // What comes before the question on a connection: a header, if anything.
    let mut before = String::new();
    while let Some(line) = read_line(&mut connection) {
        match line
            .rsplit_once(QUESTION)
            .and_then(|(rest, number)| Some((rest, number.parse().ok()?)))
        {
            None => before += &line,
            Some((rest, number)) => {
                before += rest;
                note(&Asked { names, port, number, before: &before, begun }, book);
                before.clear();
            }
        }
        if connection.write_all(format!("{ANSWER}{line}\n").as_bytes()).is_err() {
            break;
        }
    }
    if !before.is_empty() {
        book.unguarded(Unguarded { at: Instant::now(), port, line: before, named: names[1] });
    }
}

/// A question, and whom the application takes for its client.
struct Asked<'a> {
    names: [SocketAddr; 2],
    port: u16,
    number: u64,
    before: &'a str,
    /// When the connection was accepted.
    begun: Instant,
}

/// Compares the names with the client that asks.
fn note(asked: &Asked<'_>, book: &Book) {
    let Asked { names, port, number, before, begun } = *asked;
    let client = book.asker(number);
    let is_right = |name: &SocketAddr| Some(*name) == client;
    if before.is_empty() && names.iter().all(is_right) {
        return;
    }
    if names.iter().all(|name| is_right(name) || balancers().contains(&name.ip())) {
        let (line, named) = (before.to_owned(), names[1]);
        // The name was asked for when the connection was accepted.
        let at = if before.is_empty() { begun } else { Instant::now() };
        book.unguarded(Unguarded { at, port, line, named });
    } else {
        book.wrong(format!("port {port}: {names:?} for {client:?}, who sent {before:?} first"));
    }
}

fn balancers() -> [IpAddr; 2] {
    [address::BALANCER, address::BALANCER6].map(|text| text.parse().expect("an address"))
}

/// The next line, without its end; bytes that are no UTF-8 are replaced.
pub(crate) fn read_line(connection: &mut TcpStream) -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < LONGEST {
        match connection.read(&mut byte) {
            Ok(1) if byte[0] == b'\n' => return Some(String::from_utf8_lossy(&line).into_owned()),
            Ok(1) => line.push(byte[0]),
            _ => break,
        }
    }
    None
}
