//! Writes the flow log's lines without ever holding up who hands them in.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

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
    format: FlowFormat,
    /// The file that lines are appended to; `None` is standard output.
    path: Option<PathBuf>,
    items: SyncSender<Item>,
    lost: Arc<AtomicU64>,
    ended: Receiver<()>,
}

type Output = Box<dyn Write + Send>;

/// What waits for the writer.
enum Item {
    /// With its line feed.
    Line(Vec<u8>),
    /// Where the lines behind it go.
    Output(Output),
}

impl FlowLog {
    /// Opens what the configuration names.
    ///
    /// # Errors
    /// If the file cannot be opened for appending.
    pub fn open(log: &Log) -> Result<Self> {
        if log.flows == FlowFormat::Off {
            return Ok(Self(None));
        }
        let output: Output = match &log.path {
            None => Box::new(io::stdout()),
            Some(path) => Box::new(append_to(path)?),
        };
        Self::start(log, output)
    }

    /// Starts the writer's thread.
    fn start(log: &Log, output: Output) -> Result<Self> {
        let (items, waiting) = sync_channel(QUEUE);
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
        Ok(Self(Some(Queue { format: log.flows, path: log.path.clone(), items, lost, ended })))
    }

    /// The format of the lines that are wanted.
    #[must_use]
    pub fn format(&self) -> FlowFormat {
        self.0.as_ref().map_or(FlowFormat::Off, |queue| queue.format)
    }

    /// Opens the file anew, as it may have been renamed: lines that are handed in from now on go to the file that then
    /// has its name. Standard output stays as it is.
    ///
    /// # Errors
    /// If the file cannot be opened for appending, or the writer does not keep up; lines go to the old file then.
    pub fn reopen(&self) -> Result<()> {
        let Some(Queue { path: Some(path), items, .. }) = &self.0 else { return Ok(()) };
        let file = append_to(path)?;
        match items.try_send(Item::Output(Box::new(file))) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                bail!("flow log {}: too many lines are waiting; try again", path.display())
            }
            Err(TrySendError::Disconnected(_)) => {
                bail!("flow log {}: its writer has ended", path.display())
            }
        }
    }

    /// Hands in a line without its line feed; counts it as lost if the writer does not keep up.
    pub fn write(&self, mut line: Vec<u8>) {
        let Some(queue) = &self.0 else { return };
        line.push(b'\n');
        if queue.items.try_send(Item::Line(line)).is_err() {
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
        if let Some(Queue { items, ended, .. }) = self.0.take() {
            drop(items);
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!("the flow log's last lines could not be written in time");
            }
        }
    }
}

fn append_to(path: &Path) -> Result<File> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.with_context(|| format!("flow log {}", path.display()))
}

struct Writer {
    output: Output,
    buffer: Vec<u8>,
    /// Lines in the buffer.
    buffered: u64,
    lost: Arc<AtomicU64>,
    /// The last write failed.
    failing: bool,
}

impl Writer {
    fn run(mut self, items: &Receiver<Item>) {
        while let Ok(item) = items.recv() {
            self.take(item);
            while let Ok(item) = items.try_recv() {
                self.take(item);
            }
            self.flush();
        }
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Line(line) => self.add(&line),
            Item::Output(output) => {
                self.flush();
                self.output = output;
            }
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
        if self.buffer.is_empty() {
            return;
        }
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
        (go, FlowLog::start(&Log::default(), Box::new(Gate(gate))).unwrap())
    }

    fn appending_to(path: &Path) -> FlowLog {
        FlowLog::open(&Log { flows: FlowFormat::Json, path: Some(path.into()) }).unwrap()
    }

    #[test]
    fn lines_are_appended_to_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.log");
        std::fs::write(&path, "before\n").unwrap();
        let log = appending_to(&path);
        for line in ["one", "two"] {
            log.write(line.into());
        }
        log.close();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "before\none\ntwo\n");
    }

    #[test]
    fn a_file_that_was_renamed_is_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let [path, old] = ["flows.log", "flows.log.1"].map(|name| directory.path().join(name));
        let log = appending_to(&path);
        log.write(b"one".to_vec());
        std::fs::rename(&path, &old).unwrap();
        log.write(b"two".to_vec());
        log.reopen().unwrap();
        log.write(b"three".to_vec());
        log.close();
        assert_eq!(std::fs::read_to_string(old).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "three\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_anew_leaves_the_old_one_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let [path, old] = ["flows.log", "flows.log.1"].map(|name| directory.path().join(name));
        let log = appending_to(&path);
        std::fs::rename(&path, &old).unwrap();
        std::fs::create_dir(&path).unwrap();
        let error = log.reopen().unwrap_err().to_string();
        assert_eq!(error, format!("flow log {}", path.display()));
        log.write(b"line".to_vec());
        log.close();
        assert_eq!(std::fs::read_to_string(old).unwrap(), "line\n");
    }

    #[test]
    fn a_log_without_a_file_has_nothing_to_open_anew() {
        let (_go, log) = gated();
        log.reopen().unwrap();
        let off = FlowLog::open(&Log { flows: FlowFormat::Off, path: None }).unwrap();
        off.reopen().unwrap();
        assert_eq!((log.format(), off.format()), (FlowFormat::Json, FlowFormat::Off));
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
