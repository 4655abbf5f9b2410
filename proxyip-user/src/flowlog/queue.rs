//! Queues the flow log's lines for a writer, so that callers never wait.

#[cfg(test)]
mod tests;

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
