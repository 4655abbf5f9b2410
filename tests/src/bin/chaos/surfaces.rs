//! What the agent says of itself, asked for all the time: `/readyz`, `/v1/status` and its log.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use proxyip_api::status::Status;
use proxyip_tests::Site;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(100);
/// An agent that takes longer does not answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// Parts of the lines of the log that name a deviation.
const NAMES: [&str; 5] =
    ["not guarded: ", "it is attached again", "it is pinned again", "mounted over", "fails: "];

/// Parts of sentences that stay for minutes after what they are about: they name nothing that happens now.
const LASTING: [&str; 3] =
    ["ended without notice", "handed over were not established", "accept is tried again in"];

/// A deviation that a surface has named.
#[derive(Clone, Debug)]
pub(crate) struct Naming {
    pub(crate) from: Instant,
    pub(crate) until: Instant,
    pub(crate) what: String,
}

/// What has been seen of the surfaces.
#[derive(Debug)]
pub(crate) struct Surfaces {
    socket: PathBuf,
    log: PathBuf,
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    namings: Vec<Naming>,
    /// When a question was not answered at once: the agent starts, or is frozen.
    silences: Vec<Range<Instant>>,
    /// When the last look began.
    last_look: Option<Instant>,
    /// Since when everything is said to be guarded, and as it is configured.
    calm_since: Option<Instant>,
    redirected: u64,
}

impl Surfaces {
    /// Those of the site's agents, which are started one after the other.
    pub(crate) fn of(site: &Site) -> Self {
        let (socket, log) = (site.scratch.path("api.sock"), site.scratch.path("proxyip.err"));
        Self { socket, log, stop: AtomicBool::default(), seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks all the time beside `what`.
    pub(crate) fn watched<T>(&self, what: impl FnOnce() -> T) -> T {
        struct Stop<'a>(&'a Surfaces);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.stop.store(true, Ordering::Relaxed);
            }
        }
        thread::scope(|scope| {
            let _stop = Stop(self);
            scope.spawn(|| self.watch());
            what()
        })
    }

    fn watch(&self) {
        let mut log = None;
        while !self.stop.load(Ordering::Relaxed) {
            self.look(&mut log);
            thread::sleep(PERIOD);
        }
    }

    fn look(&self, log: &mut Option<BufReader<File>>) {
        if log.is_none() {
            *log = File::open(&self.log).ok().map(BufReader::new);
        }
        let lines = log.as_mut().map(new_lines).unwrap_or_default();
        let begun = Instant::now();
        let said = self.ask();
        let silence = begun..Instant::now();
        let mut seen = self.seen();
        seen.prolong(silence.end);
        seen.last_look = Some(begun);
        let mut calm = true;
        seen.silences.push(silence);
        let said = said.unwrap_or_else(|error| Said {
            deviations: vec![format!("the agent does not answer: {error}")],
            redirected: seen.redirected,
        });
        for what in said.deviations {
            calm = false;
            seen.note(begun, what);
        }
        if said.redirected > seen.redirected {
            seen.note(begun, "status: connections are redirected".into());
        }
        seen.redirected = said.redirected;
        for line in lines {
            if NAMES.iter().any(|name| line.contains(name)) {
                seen.note(begun, format!("log: {line}"));
            }
        }
        match (calm, seen.calm_since) {
            (true, None) => seen.calm_since = Some(begun),
            (false, _) => seen.calm_since = None,
            _ => {}
        }
    }

    fn ask(&self) -> io::Result<Said> {
        let (code, body) = get(&self.socket, "/readyz")?;
        let mut deviations = Vec::new();
        if code != 200 {
            deviations.push(format!("/readyz: {}", String::from_utf8_lossy(&body)));
        }
        let (_, body) = get(&self.socket, "/v1/status")?;
        let status: Status = serde_json::from_slice(&body)?;
        deviations.extend(status.findings.iter().map(|finding| format!("status: {finding}")));
        for listener in &status.listeners {
            let wanted = if listener.hand_off == "auto" { "accept" } else { &*listener.hand_off };
            let new = &listener.new_connections;
            if new.hand_off != wanted {
                deviations
                    .push(format!("status: {} instead of {wanted}: {}", new.hand_off, new.why));
            }
        }
        deviations.retain(|what| !LASTING.iter().any(|part| what.contains(part)));
        let redirected = status.left_to_kernel.get("redirected").copied().unwrap_or_default();
        Ok(Said { deviations, redirected })
    }

    /// The first naming that reaches into the time from one moment to another.
    pub(crate) fn named_between(&self, from: Instant, until: Instant) -> Option<Naming> {
        let seen = self.seen();
        let mut overlapping =
            seen.namings.iter().filter(|one| one.until >= from && one.from <= until);
        overlapping.next().cloned()
    }

    /// Whether a question was waiting for its answer: no surface said anything then.
    pub(crate) fn were_silent(&self, at: Instant) -> bool {
        self.seen().silences.iter().any(|silence| silence.contains(&at))
    }

    /// Since when everything is said to be guarded, if it is.
    pub(crate) fn calm_since(&self) -> Option<Instant> {
        self.seen().calm_since
    }

    /// What was named last.
    pub(crate) fn last_named(&self) -> String {
        self.seen().namings.last().map(|naming| naming.what.clone()).unwrap_or_default()
    }
}

/// What one look has shown.
struct Said {
    deviations: Vec<String>,
    redirected: u64,
}

impl Seen {
    /// What the last look has shown is what is said until now: nobody has looked meanwhile.
    fn prolong(&mut self, now: Instant) {
        let Some(last) = self.last_look else { return };
        for naming in self.namings.iter_mut().filter(|naming| naming.until == last) {
            naming.until = now;
        }
    }

    fn note(&mut self, at: Instant, what: String) {
        /// Two looks with the same sentence belong together.
        const TOGETHER: Duration = Duration::from_secs(2);
        let recent = self.namings.iter_mut().rev().take(8);
        let same = recent.into_iter().find(|one| one.what == what && at - one.until < TOGETHER);
        match same {
            Some(naming) => naming.until = at,
            None => self.namings.push(Naming { from: at, until: at, what }),
        }
    }
}

/// The whole lines that came since the last time.
fn new_lines(log: &mut BufReader<File>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    while log.read_line(&mut line).is_ok_and(|length| length > 0) {
        lines.push(std::mem::take(&mut line).trim_end().to_owned());
    }
    lines
}

/// The code and the body of an answer.
fn get(socket: &Path, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let nonsense = || io::Error::from(io::ErrorKind::InvalidData);
    let end = end.ok_or_else(nonsense)? + 4;
    let code = answer.get(9..12).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    Ok((code.ok_or_else(nonsense)?, answer.split_off(end)))
}
