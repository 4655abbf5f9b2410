//! Queues the flow log's lines for a writer, so that callers never wait.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::journal::Journal;
use super::losses::LostLines;
use super::waiting::Waiting;
use super::writer::{Item, Output, Writer};
use crate::config::{Destination, FlowFormat, Log};

/// Lines that may wait for the writer: half a second of the highest rate of connections that was measured.
const QUEUE: usize = 16_384;
/// How long the end of the agent waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// The flow log. Its own thread writes the lines.
#[derive(Debug)]
pub struct FlowLog {
    /// `None` if there is none.
    queue: Option<Queue>,
    lost: LostLines,
    /// How many of the lost lines [`FlowLog::take_lost`] has already reported.
    told: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    format: FlowFormat,
    to: Destination,
    items: SyncSender<Item>,
    waiting: Waiting,
    ended: Receiver<()>,
}

impl FlowLog {
    /// Opens what the configuration names.
    ///
    /// # Errors
    /// If the file cannot be opened for appending, or there is no journal.
    pub fn open(log: &Log) -> Result<Self> {
        if log.flows == FlowFormat::Off {
            return Ok(Self { queue: None, lost: LostLines::default(), told: AtomicU64::new(0) });
        }
        let output: Output = match &log.to {
            Destination::Stdout => Box::new(io::stdout()),
            Destination::File(path) => Box::new(append_to(path)?),
            Destination::Journald => Box::new(Journal::open()?),
        };
        Self::start(log, output)
    }

    /// Starts the writer's thread.
    fn start(log: &Log, output: Output) -> Result<Self> {
        let (items, handed_in) = sync_channel(QUEUE);
        let waiting = Waiting::default();
        let (end, ended) = sync_channel(1);
        let lost = LostLines::default();
        let by_line = log.to == Destination::Journald;
        let writer = Writer::new(output, by_line, waiting.clone(), lost.clone());
        thread::Builder::new()
            .name("flow-log".into())
            .spawn(move || {
                writer.run(&handed_in);
                end.send(()).ok();
            })
            .context("the flow log's thread")?;
        let queue = Queue { format: log.flows, to: log.to.clone(), items, waiting, ended };
        Ok(Self { queue: Some(queue), lost, told: AtomicU64::new(0) })
    }

    /// The format of the lines that are wanted.
    #[must_use]
    pub fn format(&self) -> FlowFormat {
        self.queue.as_ref().map_or(FlowFormat::Off, |queue| queue.format)
    }

    /// Opens the file again, because it may have been renamed. Lines that are handed in from now on go to the file
    /// that has its name then. Standard output and the journal stay as they are.
    ///
    /// # Errors
    /// If the file cannot be opened for appending, or the writer does not keep up. Then lines go to the old file.
    pub fn reopen(&self) -> Result<()> {
        let Some(Queue { to: Destination::File(path), items, .. }) = &self.queue else {
            return Ok(());
        };
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
        let Some(queue) = &self.queue else { return };
        line.push(b'\n');
        let length = line.len();
        if !queue.waiting.enter(length) {
            self.lost.add(1);
        } else if queue.items.try_send(Item::Line(line)).is_err() {
            queue.waiting.leave(length);
            self.lost.add(1);
        }
    }

    /// How many lines were lost since the last call.
    #[must_use]
    pub fn take_lost(&self) -> u64 {
        let lost = self.lost.count();
        lost - self.told.swap(lost, Ordering::Relaxed)
    }

    /// The counter of all lost lines.
    #[must_use]
    pub fn lost(&self) -> LostLines {
        self.lost.clone()
    }

    /// Ends the log. Waits a moment for the last lines, but not for ever: the reader may hang.
    pub fn close(mut self) {
        if let Some(Queue { items, ended, .. }) = self.queue.take() {
            drop(items);
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!("the flow log's last lines could not be written in time");
            }
        }
    }
}

fn append_to(path: &Path) -> Result<File> {
    let context = || format!("flow log {}", path.display());
    // Other users must not read which clients there are, so the mode is strict. A FIFO without a reader must not
    // block the open, but the writer may wait for its reader.
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path).with_context(context)?;
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND)).with_context(context)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Instant;

    use super::*;
    use crate::flowlog::waiting::BYTES;
    use crate::flowlog::writer::BUFFER;

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
        FlowLog::open(&Log { flows: FlowFormat::Json, to: Destination::File(path.into()) }).unwrap()
    }

    #[test]
    fn a_panic_of_the_writer_loses_its_lines_only() {
        struct Panics(File, bool);
        impl Write for Panics {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                assert!(std::mem::replace(&mut self.1, true), "the first write");
                self.0.write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.log");
        let output = Panics(append_to(&path).unwrap(), false);
        let log = FlowLog::start(&Log::default(), Box::new(output)).unwrap();
        log.write("one".into());
        let lost = log.lost();
        while lost.count() == 0 {
            std::thread::yield_now();
        }
        log.write("two".into());
        log.close();
        assert_eq!(lost.count(), 1);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "\ntwo\n");
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
        let off = FlowLog::open(&Log { flows: FlowFormat::Off, to: Destination::Stdout }).unwrap();
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
    fn long_lines_take_no_more_memory_than_short_ones() {
        const LONG: usize = 1 << 16;
        let (_go, log) = gated();
        for _ in 0..2 * BYTES / LONG {
            log.write(vec![b'x'; LONG - 1]);
        }
        // One is with the writer, and one in its buffer.
        let lost = usize::try_from(log.take_lost()).unwrap();
        assert!((BYTES / LONG - 2..=BYTES / LONG).contains(&lost), "{lost}");
        log.close();
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
