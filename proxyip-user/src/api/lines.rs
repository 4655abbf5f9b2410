//! The line protocol: `PEER LOCAL\n` is answered with `CLIENT\n`, `-\n` if the flow is not known, or `! SENTENCE\n`.
//!
//! Lines may be sent without waiting for answers, which come in the order of the lines.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use futures_util::FutureExt;
use memchr::memchr_iter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::leaving::{Duty, Leaving};
use super::listen::{GRACE, STALL, accept};
use crate::api::limits::descriptors::{self, LINE_CONNECTIONS};
use crate::api::limits::room::{Place, Room};
use crate::api::source::Source;

/// Two IPv6 addresses with zones and ports have 130 bytes.
const LINE: usize = 256;
/// How many lines are answered before other connections get a turn.
const BATCH: usize = 128;
/// What is read at once.
const BUFFER: usize = 16 * 1024;

/// Answers lines on a Unix socket, on its own thread. A lookup takes a microsecond: it must not wait for a table that
/// another thread writes as JSON.
///
/// # Errors
/// If the thread cannot be started.
pub(crate) fn serve(listener: StdUnixListener, source: Arc<dyn Source>, duty: Duty) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let work = move || {
        runtime.block_on(async {
            match UnixListener::from_std(listener) {
                Ok(listener) => welcome_all(listener, source, duty).await,
                Err(error) => tracing::error!("{duty} cannot be used: {error}"),
            }
        });
    };
    let thread = thread::Builder::new().name("lookups".into()).spawn(work);
    thread.map(drop).context("the lookups' thread")
}

/// Returns when the endpoint was given up and the last connection has ended.
async fn welcome_all(listener: UnixListener, source: Arc<dyn Source>, duty: Duty) {
    let room = Room::new(descriptors::share(LINE_CONNECTIONS));
    let socket = &listener;
    let next = || async move { Ok(socket.accept().await?.0) };
    // Closed when the last connection has ended.
    let (open, mut closed) = mpsc::channel::<()>(1);
    let welcome = |stream| {
        let (place, source, mut leaving) = (room.enter(), Arc::clone(&source), duty.leaving());
        let open = open.clone();
        tokio::spawn(async move {
            let _open = open;
            let late = leaving.clone();
            tokio::select! {
                biased;
                ended = converse(stream, (&place, &mut leaving), &*source) => {
                    if let Err(error) = ended {
                        tracing::debug!("a lookup connection has ended: {error}");
                    }
                }
                () = place.is_needed() => {
                    tracing::debug!("a lookup connection has made room for another");
                }
                () = overstays(late) => {
                    tracing::debug!("a lookup connection of a socket that was given up has taken too long");
                }
            }
        });
    };
    accept(&duty, next, welcome).await;
    // Nobody can connect any more; the kernel refuses those who try.
    drop((listener, open));
    closed.recv().await;
}

/// Comes back when the endpoint was given up long ago.
async fn overstays(mut leaving: Leaving) {
    leaving.begun().await;
    sleep(GRACE).await;
}

async fn converse(
    mut stream: UnixStream,
    (place, leaving): (&Place, &mut Leaving),
    source: &dyn Source,
) -> io::Result<()> {
    let mut input = Vec::with_capacity(BUFFER);
    let mut answers = Vec::new();
    // Since others had their turn.
    let mut answered = 0;
    loop {
        let read = tokio::select! {
            // What has come is answered, even if the endpoint was given up.
            biased;
            read = stream.read_buf(&mut input) => read?,
            () = leaving.begun() => {
                // The runtime learns meanwhile what has come.
                yield_now().await;
                match stream.read_buf(&mut input).now_or_never() {
                    Some(read) => read?,
                    None => return Ok(()),
                }
            }
        };
        if read == 0 {
            return Ok(());
        }
        place.hear();
        let mut begin = 0;
        loop {
            answers.clear();
            let Batch { bytes, lines } = answer(&input[begin..], source, &mut answers);
            if lines == 0 {
                break;
            }
            begin += bytes;
            answered += lines;
            // Until then nothing more is answered or read: a client that does not take its answers cannot make them
            // pile up.
            send(&mut stream, &answers).await?;
            if answered >= BATCH {
                answered = 0;
                yield_now().await;
            }
        }
        input.drain(..begin);
        if input.len() > LINE {
            return send(&mut stream, format!("! a line has at most {LINE} bytes\n").as_bytes())
                .await;
        }
        input.reserve(BUFFER - input.len());
    }
}

/// Sends all of `answers`. The socket mostly has room for them, and then no timer is needed.
async fn send(stream: &mut UnixStream, answers: &[u8]) -> io::Result<()> {
    let sent = match stream.try_write(answers) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        result => result?,
    };
    if sent < answers.len() {
        timeout(STALL, stream.write_all(&answers[sent..])).await??;
    }
    Ok(())
}

/// What has been answered.
struct Batch {
    bytes: usize,
    lines: usize,
}

/// Appends the answers to the first whole lines of `input`, at most [`BATCH`].
fn answer(input: &[u8], source: &dyn Source, answers: &mut Vec<u8>) -> Batch {
    let mut whole = 0;
    let lines = memchr_iter(b'\n', input).take(BATCH).map(|end| {
        let line = &input[whole..end];
        whole = end + 1;
        ends(line)
    });
    let lines: Vec<_> = lines.collect();
    let batch = Batch { bytes: whole, lines: lines.len() };
    let asked: Vec<_> = lines.iter().copied().flatten().collect();
    let clients = source.clients(&asked);
    let mut clients = clients.as_ref().map(|clients| clients.iter());
    for line in lines {
        let written = match (line, &mut clients) {
            (None, _) => writeln!(answers, "! a line is PEER LOCAL, each IP:PORT or [IP]:PORT"),
            (Some(_), Err(error)) => writeln!(answers, "! {error:#}"),
            (Some(_), Ok(clients)) => match clients.next() {
                Some(Some(client)) => {
                    name(*client, answers);
                    continue;
                }
                _ => writeln!(answers, "-"),
            },
        };
        written.expect("memory takes what is written");
    }
    batch
}

fn ends(line: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (peer, local) = std::str::from_utf8(line).ok()?.trim_ascii_end().split_once(' ')?;
    Some((peer.parse().ok()?, local.parse().ok()?))
}

/// Appends a line with an address. `std::fmt` would take a tenth of a lookup's time for an IPv4 address.
fn name(address: SocketAddr, answers: &mut Vec<u8>) {
    let SocketAddr::V4(address) = address else {
        return writeln!(answers, "{address}").expect("memory takes what is written");
    };
    let [a, b, c, d] = address.ip().octets().map(u16::from);
    for (number, behind) in [(a, b'.'), (b, b'.'), (c, b'.'), (d, b':'), (address.port(), b'\n')] {
        answers.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        answers.push(behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_named_as_everywhere() {
        for text in ["0.0.0.0:0", "203.0.113.9:51234", "255.255.255.255:65535", "[2001:db8::9]:1"] {
            let mut line = Vec::new();
            name(text.parse().unwrap(), &mut line);
            assert_eq!(line, format!("{text}\n").into_bytes());
        }
    }
}
