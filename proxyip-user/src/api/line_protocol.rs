//! The line protocol: `PEER LOCAL\n` is answered with `CLIENT\n`, `-\n` if no such flow is known, or `! SENTENCE\n`.
//!
//! Lines may be sent without waiting for answers, which come in the order of the lines.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, bail};
use memchr::memchr_iter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::room::{Place, Room};
use super::server::{STALL, accept};
use super::{Source, descriptors};

/// Connections at a time; one that a program keeps open takes about 20 KB.
const CONNECTIONS: usize = 1024;
/// Two IPv6 addresses with zones and ports have 130 bytes.
const LINE: usize = 256;
/// What is read at once.
const BUFFER: usize = 16 * 1024;

/// Answers lines on a Unix socket, on a thread of its own: a lookup takes a microsecond, and does not wait for a table that
/// another thread writes as JSON.
///
/// # Errors
/// If there is no thread, or it ends.
pub(super) async fn serve(
    listener: StdUnixListener,
    source: Arc<dyn Source>,
) -> Result<Infallible> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (alive, ended) = oneshot::channel::<Infallible>();
    let work = move || {
        let _alive = alive;
        runtime.block_on(async {
            match UnixListener::from_std(listener) {
                Ok(listener) => never(welcome_all(listener, source).await),
                Err(error) => tracing::error!("the lookup socket cannot be used: {error}"),
            }
        });
    };
    thread::Builder::new().name("lookups".into()).spawn(work).context("the lookups' thread")?;
    match ended.await {
        Ok(never) => Ok(never),
        Err(_) => bail!("nobody answers on the lookup socket any more"),
    }
}

fn never(infallible: Infallible) {
    match infallible {}
}

async fn welcome_all(listener: UnixListener, source: Arc<dyn Source>) -> Infallible {
    let room = Room::new(descriptors::share(CONNECTIONS));
    let next = async || Ok(listener.accept().await?.0);
    let welcome = |stream| {
        let (place, source) = (room.enter(), Arc::clone(&source));
        tokio::spawn(async move {
            tokio::select! {
                biased;
                ended = converse(stream, &place, &*source) => {
                    if let Err(error) = ended {
                        tracing::debug!("a lookup connection has ended: {error}");
                    }
                }
                () = place.is_needed() => {
                    tracing::debug!("a lookup connection has made room for another");
                }
            }
        });
    };
    accept("the lookup socket", next, welcome).await
}

async fn converse(mut stream: UnixStream, place: &Place, source: &dyn Source) -> io::Result<()> {
    let mut input = Vec::with_capacity(BUFFER);
    let mut answers = Vec::new();
    while stream.read_buf(&mut input).await? > 0 {
        place.hear();
        answers.clear();
        let whole = answer(&input, source, &mut answers);
        input.drain(..whole);
        let too_long = input.len() > LINE;
        if too_long {
            writeln!(answers, "! a line has at most {LINE} bytes")?;
        }
        // Nothing more is read meanwhile: whoever does not take answers cannot make them pile up.
        send(&mut stream, &answers).await?;
        answers.shrink_to(BUFFER);
        if too_long {
            break;
        }
        input.reserve(BUFFER - input.len());
    }
    Ok(())
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

/// Appends the answers to the whole lines of `input`; how many bytes these have.
fn answer(input: &[u8], source: &dyn Source, answers: &mut Vec<u8>) -> usize {
    let mut whole = 0;
    let lines = memchr_iter(b'\n', input).map(|end| {
        let line = &input[whole..end];
        whole = end + 1;
        ends(line)
    });
    let lines: Vec<_> = lines.collect();
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
    whole
}

fn ends(line: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (peer, local) = std::str::from_utf8(line).ok()?.trim_ascii_end().split_once(' ')?;
    Some((peer.parse().ok()?, local.parse().ok()?))
}

/// Appends a line with an address. With the means of `std::fmt` that of an IPv4 address would take a tenth of a lookup.
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
