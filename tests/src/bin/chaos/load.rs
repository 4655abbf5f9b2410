//! Clients behind the load balancer, each with an address of its own.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxyip_tests::{Dial, Site, address, visitors};

use crate::application::{ANSWER, QUESTION, read_line};
use crate::book::{Book, Lost};

/// What the load balancer listens on, and the application too.
pub(crate) const PORTS: [u16; 3] = [80, 81, 82];

/// How many clients there are at a time: two for each port and family.
const WORKERS: u64 = 12;
/// Between two connections of a client.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a client waits before it asks once more on its connection: every fourth does so.
const SILENCE: Duration = Duration::from_millis(500);
/// No connection that is served lasts longer.
pub(crate) const LASTS: Duration = Duration::from_secs(2);
/// A connection without an answer and without an end hangs.
pub(crate) const HANGS: Duration = Duration::from_secs(19);

/// Everybody who opens connections.
#[derive(Debug, Default)]
pub(crate) struct Load {
    stop: AtomicBool,
    next: AtomicU64,
    pub(crate) book: Arc<Book>,
}

impl Load {
    /// Opens connections until all is over, as the client with this number.
    fn work(&self, worker: u64) {
        let place = usize::try_from(worker).expect("a few");
        let port = PORTS[place / 2 % PORTS.len()];
        while !self.stop.load(Ordering::Relaxed) {
            // A failure is noted.
            let _ = self.ask(port, worker % 2);
            thread::sleep(PAUSE);
        }
    }

    /// Lets the clients work beside `what`.
    pub(crate) fn beside<T>(&self, site: &Site, what: impl FnOnce() -> T) -> T {
        /// Lets the workers end in any case: a panic must not leave them running for ever.
        struct Stop<'a>(&'a Load);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.stop.store(true, Ordering::Relaxed);
            }
        }
        thread::scope(|scope| {
            let _stop = Stop(self);
            for worker in 0..WORKERS {
                scope.spawn(move || site.net.client.enter(|| self.work(worker)));
            }
            what()
        })
    }

    /// Whether the application answers on each port over each family.
    pub(crate) fn is_served(&self, site: &Site) -> bool {
        let all = || PORTS.iter().all(|port| (0..2).all(|odd| self.ask(*port, odd).is_ok()));
        site.net.client.enter(all)
    }

    /// Opens one connection from an address that no other has, over IPv4 or, if `odd` is 1, over IPv6. The application
    /// compares the addresses; here it only has to answer.
    fn ask(&self, port: u16, odd: u64) -> io::Result<()> {
        let number = 2 * self.next.fetch_add(1, Ordering::Relaxed) + odd;
        let begun = Instant::now();
        let asked = self.ask_under(number, port);
        match &asked {
            Ok(()) => self.book.served(),
            Err(error) => {
                let (lasted, error) = (begun.elapsed(), format!("port {port}: {error}"));
                self.book.lost(Lost { begun, lasted, error });
            }
        }
        asked
    }

    fn ask_under(&self, number: u64, port: u16) -> io::Result<()> {
        let source = visitors::address_of(number);
        let front = if source.is_ipv4() { address::FRONT } else { address::FRONT6 };
        let mut stream = Dial::to(front, port).from(&source.to_string(), 0).attempt_here()?;
        self.book.asks(number, stream.local_addr()?);
        let rounds = if number.is_multiple_of(8) { 2 } else { 1 };
        for round in 0..rounds {
            if round > 0 {
                thread::sleep(SILENCE);
            }
            stream.write_all(format!("{QUESTION}{number}\n").as_bytes())?;
            let answer = read_line(&mut stream)
                .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            if answer != format!("{ANSWER}{QUESTION}{number}") {
                return Err(io::Error::other(format!("{answer:?} came back")));
            }
        }
        Ok(())
    }
}
