//! Clients of both families behind both load balancers, each with an address of its own.

use std::collections::HashSet;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};
use std::thread;
use std::time::Duration;

use proxyip_tests::{Dial, address, eventually, read_line_or_error, visitors};

/// How many clients there are at a time. Two ask each load balancer over each family.
pub(crate) const WORKERS: usize = 8;

/// Between two connections of a worker. A load balancer must not use up its ports: a port rests for a minute.
const PAUSE: Duration = Duration::from_millis(25);

/// How many mistakes are shown.
const SHOWN: usize = 5;

const QUESTION: &[u8] = b"who am I?\n";

/// What all workers know.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    stop: AtomicBool,
    /// Workers hold it for each connection.
    quiet: RwLock<()>,
    opened: AtomicU64,
    /// Workers with the connection that they use all the time.
    ready: AtomicUsize,
    /// Clients that the flow log has not named yet.
    unnamed: Mutex<HashSet<SocketAddr>>,
    mistakes: Mutex<Vec<String>>,
}

/// Lets the workers end in any case: a panic on one thread must not leave the others running for ever.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a Clients);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

impl Clients {
    /// Opens connections until all is over, and uses one all the time.
    pub(crate) fn work(&self, worker: usize) {
        let port = if worker < WORKERS / 2 { 80 } else { 81 };
        let Some(mut kept) = self.open(worker, port) else { return };
        self.ready.fetch_add(1, Ordering::Relaxed);
        while !self.stop.load(Ordering::Relaxed) {
            {
                let _loud = self.quiet.read().unwrap_or_else(PoisonError::into_inner);
                self.open(worker, port);
                if let Err(error) = exchange(&mut kept) {
                    self.mistake(format!("a connection that was there before: {error}"));
                    return;
                }
            }
            thread::sleep(PAUSE);
        }
    }

    /// Waits until each worker has the connection that it uses all the time.
    pub(crate) fn wait_ready(&self) {
        eventually("the first connection of each worker", || {
            self.assert_right();
            (self.ready.load(Ordering::Relaxed) == WORKERS).then_some(())
        });
    }

    /// Opens a connection. The server must name its client.
    fn open(&self, worker: usize, port: u16) -> Option<TcpStream> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        // The number's last bit chooses the family, and each worker keeps to one.
        let number = 2 * number + u64::from(worker % 2 == 1);
        let source = visitors::address_of(number);
        match self.ask(source, port) {
            Ok(stream) => Some(stream),
            Err(error) => {
                self.mistake(format!("{source} to port {port}: {error}"));
                None
            }
        }
    }

    fn ask(&self, source: IpAddr, port: u16) -> io::Result<TcpStream> {
        let front = if source.is_ipv4() { address::FRONT } else { address::FRONT6 };
        let mut stream = Dial::to(front, port).from(&source.to_string(), 0).attempt_here()?;
        let own = stream.local_addr()?;
        lock(&self.unnamed).insert(own);
        stream.write_all(QUESTION)?;
        let answer = read_line_or_error(&stream)?;
        let mut names = answer.split(' ').take(2).map(str::parse::<SocketAddr>);
        let mut next = || names.next()?.ok().map(|name| (name.ip().to_canonical(), name.port()));
        let right = Some((own.ip(), own.port()));
        if next() != right || next() != right {
            return Err(io::Error::other(format!("the server took {own} for {answer}")));
        }
        Ok(stream)
    }

    fn mistake(&self, what: String) {
        lock(&self.mistakes).push(what);
    }

    /// Lets no new connection begin, and waits for those that have begun, until this is dropped.
    pub(crate) fn silence(&self) -> RwLockWriteGuard<'_, ()> {
        self.quiet.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the clients that the flow log has not named yet.
    pub(crate) fn take_unnamed(&self) -> HashSet<SocketAddr> {
        std::mem::take(&mut lock(&self.unnamed))
    }

    /// How many connections there were.
    ///
    /// # Panics
    /// When one had another client, or failed.
    pub(crate) fn assert_right(&self) -> u64 {
        let mistakes = lock(&self.mistakes);
        let shown = mistakes.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(mistakes.is_empty(), "{} connections went wrong:\n{shown}", mistakes.len());
        self.opened.load(Ordering::Relaxed)
    }
}

/// Sends and receives on a connection whose client is known.
fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(QUESTION)?;
    let mut echo = [0; QUESTION.len()];
    stream.read_exact(&mut echo)?;
    if echo == QUESTION { Ok(()) } else { Err(io::Error::other(format!("{echo:?} came back"))) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
