//! Writes the flow log's lines without ever holding up who hands them in.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::config::{FlowFormat, Log};

/// Lines that may wait for the writer; about 16 MB of memory at worst, and half a second of the highest
/// rate of connections that was measured.
const QUEUE: usize = 16_384;
/// How much is written at once while lines are waiting.
const BUFFER: usize = 64 * 1024;
/// How long the end of the agent waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// The flow log; lines go to a thread of its own.
#[derive(Debug)]
pub struct FlowLog(Option<Queue>);

#[derive(Debug)]
struct Queue {
    lines: SyncSender<Vec<u8>>,
    lost: Arc<AtomicU64>,
    ended: Receiver<()>,
}

impl FlowLog {
    /// Opens what the configuration names.
    ///
    /// # Errors
    /// If the file cannot be opened for appending.
    pub fn open(log: &Log) -> Result<Self> {
        match (log.flows, &log.path) {
            (FlowFormat::Off, _) => Ok(Self(None)),
            (FlowFormat::Json, None) => Self::start(io::stdout()),
            (FlowFormat::Json, Some(path)) => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                Self::start(file.with_context(|| format!("flow log {}", path.display()))?)
            }
        }
    }

    /// Starts the writer's thread.
    fn start(output: impl Write + Send + 'static) -> Result<Self> {
        let (lines, waiting) = sync_channel(QUEUE);
        let (end, ended) = sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            output,
            buffer: Vec::new(),
            buffered: 0,
            lost: Arc::clone(&lost),
            failing: false,
        };
        thread::Builder::new()
            .name("flow-log".into())
            .spawn(move || {
                writer.run(&waiting);
                end.send(()).ok();
            })
            .context("the flow log's thread")?;
        Ok(Self(Some(Queue { lines, lost, ended })))
    }

    /// Whether lines are wanted at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands in a line without its line feed; counts it as lost if the writer does not keep up.
    pub fn write(&self, mut line: Vec<u8>) {
        let Some(queue) = &self.0 else { return };
        line.push(b'\n');
        if queue.lines.try_send(line).is_err() {
            queue.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines were lost since the last call.
    #[must_use]
    pub fn take_lost(&self) -> u64 {
        self.0.as_ref().map_or(0, |queue| queue.lost.swap(0, Ordering::Relaxed))
    }

    /// Ends the log; waits a moment for the last lines, but not for ever: whoever reads them may hang.
    pub fn close(mut self) {
        if let Some(Queue { lines, ended, .. }) = self.0.take() {
            drop(lines);
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!("the flow log's last lines could not be written in time");
            }
        }
    }
}

struct Writer<W> {
    output: W,
    buffer: Vec<u8>,
    /// Lines in the buffer.
    buffered: u64,
    lost: Arc<AtomicU64>,
    /// The last write failed.
    failing: bool,
}

impl<W: Write> Writer<W> {
    fn run(mut self, lines: &Receiver<Vec<u8>>) {
        while let Ok(line) = lines.recv() {
            self.add(&line);
            while let Ok(line) = lines.try_recv() {
                self.add(&line);
            }
            self.flush();
        }
    }

    fn add(&mut self, line: &[u8]) {
        self.buffer.extend(line);
        self.buffered += 1;
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    /// Writes the buffer. A failure, such as a reader that is gone or a disk that is full, loses the lines
    /// and is said once; the next lines are tried again.
    fn flush(&mut self) {
        let written = self.output.write_all(&self.buffer).and_then(|()| self.output.flush());
        match written {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.lost.fetch_add(self.buffered, Ordering::Relaxed);
                if !self.failing {
                    tracing::error!("the flow log cannot be written: {error}");
                }
                self.failing = true;
            }
        }
        self.buffer.clear();
        self.buffered = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Instant;

    use super::*;

    /// Waits for a go before each write and then answers with what `results` says.
    struct Gate(Receiver<io::Result<()>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().expect("a go").map(|()| bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Sender<io::Result<()>>, FlowLog) {
        let (go, gate) = channel();
        (go, FlowLog::start(Gate(gate)).unwrap())
    }

    #[test]
    fn lines_are_appended_to_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.log");
        std::fs::write(&path, "before\n").unwrap();
        let log =
            FlowLog::open(&Log { flows: FlowFormat::Json, path: Some(path.clone()) }).unwrap();
        for line in ["one", "two"] {
            log.write(line.into());
        }
        log.close();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "before\none\ntwo\n");
    }

    #[test]
    fn a_writer_that_hangs_holds_nobody_up() {
        let (_go, log) = gated();
        let start = Instant::now();
        // More than the queue and the writer's buffer hold together.
        for _ in 0..QUEUE + BUFFER {
            log.write(b"line".to_vec());
        }
        assert!(start.elapsed() < Duration::from_secs(1));
        assert!(log.take_lost() > 0);
        log.close();
        assert!(start.elapsed() < PATIENCE * 3);
    }

    #[test]
    fn a_reader_that_is_gone_loses_lines_and_nothing_else() {
        let (go, log) = gated();
        go.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        go.send(Ok(())).unwrap();
        log.write(b"lost".to_vec());
        let deadline = Instant::now() + PATIENCE;
        let mut lost = 0;
        while lost == 0 && Instant::now() < deadline {
            lost = log.take_lost();
            thread::yield_now();
        }
        assert_eq!(lost, 1);
        log.write(b"written".to_vec());
        log.close();
    }
}
