//! Queues the flow log's lines for a writer, so that callers never wait.

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::journal::Journal;
use super::lines::Lines;
use super::losses::LostLines;
use super::waiting::Waiting;
use super::writer::{BUFFER, Item, Output, Writer};
use crate::config::{Destination, FlowFormat, Log};

/// Batches of lines that may wait for the writer.
const QUEUE: usize = 1024;
/// How long the end of the agent waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// The flow log. A thread writes the lines. Format and destination can be exchanged.
#[derive(Debug)]
pub struct FlowLog {
    format: FlowFormat,
    /// `None` if there is no flow log.
    queue: Option<Queue>,
    /// The ends of writers that still write what they were handed before the destination was exchanged.
    former: Vec<Receiver<()>>,
    /// Lines that are not handed in yet.
    lines: Lines,
    lost: LostLines,
    /// How many of the lost lines [`FlowLog::take_lost`] has already reported.
    told: u64,
}

/// Lines on their way to one destination.
#[derive(Debug)]
struct Queue {
    to: Destination,
    items: SyncSender<Item>,
    waiting: Waiting,
    ended: Receiver<()>,
}

/// Another format or destination: open, and not yet in use.
#[derive(Debug)]
pub struct NextLog {
    format: FlowFormat,
    queue: NextQueue,
}

/// Where lines go next.
#[derive(Debug)]
enum NextQueue {
    /// Where they go now.
    Same,
    Nowhere,
    To(Queue),
}

impl NextLog {
    /// Opens what `log` names, unless `before` names the same destination. Lines that cannot be written there are going to
    /// be counted in `lost`.
    ///
    /// # Errors
    /// If the file cannot be opened for appending, or there is no journal.
    pub fn open(log: &Log, before: &Log, lost: &LostLines) -> Result<Self> {
        let is_open = before.flows != FlowFormat::Off && before.to == log.to;
        let queue = match log.flows {
            FlowFormat::Off => NextQueue::Nowhere,
            FlowFormat::Json | FlowFormat::Vpc if is_open => NextQueue::Same,
            FlowFormat::Json | FlowFormat::Vpc => NextQueue::To(Queue::open(&log.to, lost)?),
        };
        Ok(Self { format: log.flows, queue })
    }
}

impl Queue {
    fn open(to: &Destination, lost: &LostLines) -> Result<Self> {
        let output: Output = match to {
            Destination::Stdout => Box::new(io::stdout()),
            Destination::File(path) => Box::new(append_to(path)?),
            Destination::Journald => Box::new(Journal::open()?),
        };
        Self::start(to, output, lost)
    }

    /// Starts the writer's thread.
    fn start(to: &Destination, output: Output, lost: &LostLines) -> Result<Self> {
        let (items, handed_in) = sync_channel(QUEUE);
        let waiting = Waiting::default();
        let (end, ended) = sync_channel(1);
        let by_line = *to == Destination::Journald;
        let writer = Writer::new(output, by_line, waiting.clone(), lost.clone());
        thread::Builder::new()
            .name("flow-log".into())
            .spawn(move || {
                writer.run(&handed_in);
                end.send(()).ok();
            })
            .context("the flow log's thread")?;
        Ok(Self { to: to.clone(), items, waiting, ended })
    }

    /// Hands in a batch; gives it back if there is no room for it.
    fn take(&self, lines: Lines) -> Result<(), Lines> {
        let memory = lines.memory();
        if !self.waiting.enter(memory) {
            return Err(lines);
        }
        let Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) =
            self.items.try_send(Item::Lines(lines))
        else {
            return Ok(());
        };
        self.waiting.leave(memory);
        match item {
            Item::Lines(lines) => Err(lines),
            Item::Output(_) => unreachable!("lines were sent"),
        }
    }
}

impl FlowLog {
    /// Opens what the configuration names.
    ///
    /// # Errors
    /// If the file cannot be opened for appending, or there is no journal.
    pub fn open(log: &Log) -> Result<Self> {
        let lost = LostLines::default();
        let none = Log { flows: FlowFormat::Off, to: Destination::Stdout };
        let next = NextLog::open(log, &none, &lost)?;
        let (former, lines) = (Vec::new(), Lines::default());
        let mut flow_log = Self { format: none.flows, queue: None, former, lines, lost, told: 0 };
        flow_log.exchange(next);
        Ok(flow_log)
    }

    /// Writes the lines that are handed in from now on as `next` says. The writer before it still writes those that it has,
    /// then it closes its destination.
    pub fn exchange(&mut self, NextLog { format, queue }: NextLog) {
        self.hand_in();
        if !matches!(queue, NextQueue::Same) {
            self.lose();
        }
        self.format = format;
        let before = match queue {
            NextQueue::Same => None,
            NextQueue::Nowhere => self.queue.take(),
            NextQueue::To(queue) => self.queue.replace(queue),
        };
        // Dropping the sender lets the writer end behind the last line.
        self.former.extend(before.map(|Queue { ended, .. }| ended));
        self.former.retain(|ended| ended.try_recv() == Err(TryRecvError::Empty));
    }

    /// The format of the lines that are wanted.
    #[must_use]
    pub const fn format(&self) -> FlowFormat {
        self.format
    }

    /// Opens the file again, because it may have been renamed. Lines that are handed in from now on go to the file
    /// that has its name then. Standard output and the journal stay as they are.
    ///
    /// # Errors
    /// If the file cannot be opened for appending, or the writer does not keep up. Then lines go to the old file.
    pub fn reopen(&mut self) -> Result<()> {
        self.hand_in();
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

    /// Takes a line that `write` appends, without its line feed. The writer gets it with [`hand_in`](Self::hand_in).
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.queue.is_none() {
            return;
        }
        self.lines.add(write);
        if self.lines.bytes().len() >= BUFFER {
            self.hand_in();
        }
    }

    /// Gives the writer the lines that it has not got yet. To wake it for each line would cost more than the line. If it
    /// does not keep up, the lines wait until they are a whole batch, and then are lost.
    pub fn hand_in(&mut self) {
        let Some(queue) = &self.queue else { return };
        if self.lines.count() == 0 {
            return;
        }
        if let Err(lines) = queue.take(self.lines.take()) {
            self.lines = lines;
            if self.lines.bytes().len() >= BUFFER {
                self.lose();
            }
        }
    }

    /// Counts the lines as lost that the writer has not got.
    fn lose(&mut self) {
        self.lost.add(self.lines.take().count());
    }

    /// How many lines were lost since the last call.
    #[must_use]
    pub fn take_lost(&mut self) -> u64 {
        let lost = self.lost.count();
        lost - std::mem::replace(&mut self.told, lost)
    }

    /// The counter of all lost lines.
    #[must_use]
    pub fn lost(&self) -> LostLines {
        self.lost.clone()
    }

    /// Ends the log. Waits a moment for the last lines, but not for ever: the reader may hang.
    pub fn close(mut self) {
        self.hand_in();
        self.lose();
        let Self { queue, mut former, .. } = self;
        former.extend(queue.map(|Queue { ended, .. }| ended));
        let deadline = Instant::now() + PATIENCE;
        for ended in former {
            let left = deadline.saturating_duration_since(Instant::now());
            if ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
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
