//! The console of a guest: kept in a log, and its tests shown.

use std::{
    io::{self, Write},
    time::Duration,
};

/// How many of the last lines the report of a failed guest shows.
const LAST_LINES: usize = 15;

/// How many lines of a panic are shown: its place, and what it says.
const PANIC_LINES: usize = 4;

/// Which lines of a guest are worth the operator's attention at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Tests,
    Everything,
}

/// What a guest prints.
#[derive(Debug)]
pub(super) struct Console<Log> {
    log: Log,
    /// Marks its lines on the terminal, where several guests may print.
    name: &'static str,
    /// Which lines are printed there as well.
    shown: Shown,
    /// The current line, without its end.
    line: Vec<u8>,
    last: Vec<String>,
    /// How many lines of a panic are still to come.
    panic: usize,
}

impl<Log: Write> Console<Log> {
    pub(super) fn new(name: &'static str, shown: Shown, log: Log) -> Self {
        Self { log, name, shown, line: Vec::new(), last: Vec::new(), panic: 0 }
    }

    /// Takes what came after `elapsed`. In the log, each line has the time when it began: for a
    /// test's line, when the test began.
    pub(super) fn take(&mut self, bytes: &[u8], elapsed: Duration) -> io::Result<()> {
        for byte in bytes.iter().filter(|byte| **byte != b'\r') {
            if self.line.is_empty() {
                write!(self.log, "[{:7.1}] ", elapsed.as_secs_f64())?;
            }
            self.log.write_all(&[*byte])?;
            self.line.push(*byte);
            if *byte == b'\n' {
                self.end_line();
            }
        }
        self.log.flush()
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        if line.contains(" panicked at ") {
            self.panic = PANIC_LINES;
        }
        let is_panic = self.panic > 0;
        self.panic = self.panic.saturating_sub(1);
        if self.shown == Shown::Everything || is_panic || line.starts_with("test ") {
            eprintln!("{:>6} | {line}", self.name);
        }
        if self.last.len() == LAST_LINES {
            self.last.remove(0);
        }
        self.last.push(line);
    }

    /// The last lines, each with a line break. An unfinished line is the last of them.
    pub(super) fn last_lines(&self) -> String {
        let unfinished = String::from_utf8_lossy(&self.line);
        self.last.iter().map(String::as_str).chain([&*unfinished]).fold(
            String::new(),
            |mut text, line| {
                if !line.is_empty() {
                    text.push_str("  ");
                    text.push_str(line);
                    text.push('\n');
                }
                text
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> Console<Vec<u8>> {
        Console::new("6.1", Shown::Tests, Vec::new())
    }

    #[test]
    fn a_line_has_the_time_when_it_began() {
        let mut console = console();
        console.take(b"test web::https ... ", Duration::from_secs(8)).unwrap();
        console.take(b"ok\r\nbye\r\n", Duration::from_millis(12_340)).unwrap();
        assert_eq!(
            String::from_utf8(console.log).unwrap(),
            "[    8.0] test web::https ... ok\n[   12.3] bye\n"
        );
    }

    #[test]
    fn remembers_the_last_lines_and_the_one_that_hangs() {
        let mut console = console();
        for number in 0..100 {
            console.take(format!("line {number}\n").as_bytes(), Duration::ZERO).unwrap();
        }
        console.take(b"test hangs ... ", Duration::ZERO).unwrap();
        let last = console.last_lines();
        assert!(last.starts_with("  line 85\n") && last.ends_with("  test hangs ... \n"), "{last}");
    }
}
