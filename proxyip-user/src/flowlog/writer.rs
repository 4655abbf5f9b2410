//! The thread that writes the flow log's lines.

use std::io::{self, Write};
use std::sync::mpsc::Receiver;

use memchr::memchr_iter;

use super::lines::Lines;
use super::losses::LostLines;
use super::waiting::Waiting;
use crate::supervise;

/// How much is written at once while lines are waiting.
pub(crate) const BUFFER: usize = 64 * 1024;
/// Where lines go.
pub(crate) type Output = Box<dyn Write + Send>;

/// What waits for the writer.
pub(crate) enum Item {
    Lines(Lines),
    /// Where the lines behind it go.
    Output(Output),
}

/// Writes what it is handed, in the order in which it comes.
pub(crate) struct Writer {
    output: Output,
    buffer: Vec<u8>,
    /// Lines in the buffer.
    buffered: u64,
    waiting: Waiting,
    lost: LostLines,
    /// The last write failed.
    failing: bool,
    /// The last write ended within a line.
    torn: bool,
    /// Each write takes a line: when one fails, the next may not.
    by_line: bool,
}

impl Writer {
    /// Subtracts the lines that it receives from `waiting`. Counts the lines that it cannot write in `lost`.
    pub(crate) fn new(output: Output, by_line: bool, waiting: Waiting, lost: LostLines) -> Self {
        let buffer = Vec::new();
        Self { output, buffer, buffered: 0, waiting, lost, failing: false, torn: false, by_line }
    }

    /// Runs until every sender is gone. A panic loses the lines that are in the buffer.
    pub(crate) fn run(mut self, items: &Receiver<Item>) {
        while let Ok(item) = items.recv() {
            if !supervise::shield(|| self.round(item, items)) {
                self.lost.add(std::mem::take(&mut self.buffered));
                self.buffer.clear();
                self.torn = true;
            }
        }
    }

    fn round(&mut self, item: Item, items: &Receiver<Item>) {
        self.take(item);
        while let Ok(item) = items.try_recv() {
            self.take(item);
        }
        self.flush();
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Lines(lines) => {
                self.waiting.leave(lines.memory());
                self.add(&lines);
            }
            Item::Output(output) => {
                self.flush();
                self.output = output;
                self.torn = false;
            }
        }
    }

    fn add(&mut self, lines: &Lines) {
        self.buffer.extend(lines.bytes());
        self.buffered += lines.count();
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    /// Writes the buffer. A failure, for example a full disk or a reader that is gone, loses the lines. It is
    /// reported once, and the next lines are tried again.
    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if self.by_line {
            return self.flush_lines();
        }
        if self.torn {
            self.buffer.insert(0, b'\n');
        }
        let mut written = 0;
        let result = write(&mut *self.output, &self.buffer, &mut written);
        let written = &self.buffer[..written];
        let ends =
            memchr_iter(b'\n', written).count() - usize::from(self.torn && !written.is_empty());
        self.torn = written.last().map_or(self.torn, |last| *last != b'\n');
        match result {
            Ok(()) => self.failing = false,
            Err(error) => self.fail(self.buffered.saturating_sub(ends as u64), &error),
        }
        self.buffer.clear();
        self.buffered = 0;
    }

    /// Writes the buffer line by line. Loses only the lines that fail.
    fn flush_lines(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        for line in buffer.split_inclusive(|byte| *byte == b'\n') {
            match self.output.write_all(line) {
                Ok(()) => self.failing = false,
                Err(error) => self.fail(1, &error),
            }
        }
        self.buffer = buffer;
        self.buffer.clear();
        self.buffered = 0;
    }

    fn fail(&mut self, lost: u64, error: &io::Error) {
        self.lost.add(lost);
        if !self.failing {
            tracing::error!("the flow log cannot be written: {error}");
        }
        self.failing = true;
    }
}

/// Writes all bytes. Counts the written bytes, also if a later write fails.
fn write(output: &mut dyn Write, bytes: &[u8], written: &mut usize) -> io::Result<()> {
    while *written < bytes.len() {
        match output.write(&bytes[*written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => *written += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::*;

    fn line(text: &str) -> Lines {
        let mut lines = Lines::default();
        lines.add(|line| line.extend(text.as_bytes()));
        lines
    }

    /// Takes so many bytes, and then none.
    struct Full(usize, SyncSender<Vec<u8>>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.0);
            if length == 0 {
                self.0 = usize::MAX;
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0 -= length;
            self.1.send(bytes[..length].to_vec()).unwrap();
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_was_full_spoils_no_later_line() {
        let (sender, written) = sync_channel(9);
        let lost = LostLines::default();
        let output = Box::new(Full(6, sender));
        let mut writer = Writer::new(output, false, Waiting::default(), lost.clone());
        writer.add(&line("one"));
        writer.add(&line("two"));
        writer.flush();
        assert_eq!(lost.count(), 1);
        writer.add(&line("three"));
        writer.flush();
        drop(writer);
        assert_eq!(written.iter().flatten().collect::<Vec<_>>(), b"one\ntw\nthree\n");
        assert_eq!(lost.count(), 1);
    }

    /// Refuses a line, and takes others.
    struct Particular(SyncSender<Vec<u8>>);

    impl Write for Particular {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            if line == b"two\n" {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            self.0.send(line.to_vec()).unwrap();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_is_refused_takes_no_other_with_it() {
        let (sender, written) = sync_channel(9);
        let lost = LostLines::default();
        let output = Box::new(Particular(sender));
        let mut writer = Writer::new(output, true, Waiting::default(), lost.clone());
        for text in ["one", "two", "three"] {
            writer.add(&line(text));
        }
        writer.flush();
        drop(writer);
        assert_eq!(written.iter().flatten().collect::<Vec<_>>(), b"one\nthree\n");
        assert_eq!(lost.count(), 1);
    }
}
