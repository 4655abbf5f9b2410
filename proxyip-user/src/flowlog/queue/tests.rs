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
    (go, writing_to(Box::new(Gate(gate))))
}

fn writing_to(output: Output) -> FlowLog {
    let lost = LostLines::default();
    let queue = Queue::start(&Destination::Stdout, output, &lost).unwrap();
    let queue = Some(queue);
    FlowLog {
        format: FlowFormat::Json,
        queue,
        former: Vec::new(),
        lines: Lines::default(),
        lost,
        told: 0,
    }
}

/// Hands in one line.
fn put(log: &mut FlowLog, text: &str) {
    log.write(|line| line.extend(text.as_bytes()));
    log.hand_in();
}

fn to_file(path: &Path) -> Log {
    Log { flows: FlowFormat::Json, to: Destination::File(path.into()) }
}

fn appending_to(path: &Path) -> FlowLog {
    FlowLog::open(&to_file(path)).unwrap()
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
    let mut log = writing_to(Box::new(output));
    put(&mut log, "one");
    let lost = log.lost();
    while lost.count() == 0 {
        std::thread::yield_now();
    }
    put(&mut log, "two");
    log.close();
    assert_eq!(lost.count(), 1);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "\ntwo\n");
}

#[test]
fn lines_are_appended_to_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.log");
    std::fs::write(&path, "before\n").unwrap();
    let mut log = appending_to(&path);
    for line in ["one", "two"] {
        put(&mut log, line);
    }
    log.close();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "before\none\ntwo\n");
}

#[test]
fn a_file_that_was_renamed_is_opened_anew() {
    let directory = tempfile::tempdir().unwrap();
    let [path, old] = ["flows.log", "flows.log.1"].map(|name| directory.path().join(name));
    let mut log = appending_to(&path);
    put(&mut log, "one");
    std::fs::rename(&path, &old).unwrap();
    put(&mut log, "two");
    log.reopen().unwrap();
    put(&mut log, "three");
    log.close();
    assert_eq!(std::fs::read_to_string(old).unwrap(), "one\ntwo\n");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "three\n");
}

#[test]
fn a_file_that_cannot_be_opened_anew_leaves_the_old_one_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let [path, old] = ["flows.log", "flows.log.1"].map(|name| directory.path().join(name));
    let mut log = appending_to(&path);
    std::fs::rename(&path, &old).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = log.reopen().unwrap_err().to_string();
    assert_eq!(error, format!("flow log {}", path.display()));
    put(&mut log, "line");
    log.close();
    assert_eq!(std::fs::read_to_string(old).unwrap(), "line\n");
}

#[test]
fn a_log_without_a_file_has_nothing_to_open_anew() {
    let (_go, mut log) = gated();
    log.reopen().unwrap();
    let mut off = FlowLog::open(&Log { flows: FlowFormat::Off, to: Destination::Stdout }).unwrap();
    off.reopen().unwrap();
    assert_eq!((log.format(), off.format()), (FlowFormat::Json, FlowFormat::Off));
}

#[test]
fn a_writer_that_hangs_holds_nobody_up() {
    let (_go, mut log) = gated();
    let start = Instant::now();
    // More than may wait.
    for _ in 0..2 * BYTES / BUFFER {
        put(&mut log, &"x".repeat(BUFFER));
    }
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(log.take_lost() > 0);
    log.close();
    assert!(start.elapsed() < PATIENCE * 3);
}

#[test]
fn a_writer_that_hangs_for_long_loses_nothing_while_there_is_memory() {
    let (go, mut log) = gated();
    for _ in 0..3 * QUEUE {
        put(&mut log, "line");
    }
    assert_eq!(log.take_lost(), 0);
    // A write for each batch that waits, at most.
    for _ in 0..3 * QUEUE {
        go.send(Ok(())).unwrap();
    }
    log.close();
}

#[test]
fn long_lines_take_no_more_memory_than_short_ones() {
    const LONG: usize = 1 << 16;
    let (_go, mut log) = gated();
    for _ in 0..2 * BYTES / LONG {
        put(&mut log, &"x".repeat(LONG - 1));
    }
    // One is with the writer, and one in its buffer.
    let lost = usize::try_from(log.take_lost()).unwrap();
    assert!((BYTES / LONG - 2..=BYTES / LONG).contains(&lost), "{lost}");
    log.close();
}

#[test]
fn a_reader_that_is_gone_loses_lines_and_nothing_else() {
    let (go, mut log) = gated();
    go.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
    go.send(Ok(())).unwrap();
    put(&mut log, "lost");
    let deadline = Instant::now() + PATIENCE;
    let mut lost = 0;
    while lost == 0 && Instant::now() < deadline {
        lost = log.take_lost();
        thread::yield_now();
    }
    assert_eq!(lost, 1);
    put(&mut log, "written");
    log.close();
}

/// What `log` names, in place of `before`.
fn exchange(log: &mut FlowLog, before: &Log, now: &Log) {
    log.exchange(NextLog::open(now, before, &log.lost()).unwrap());
}

#[test]
fn each_line_goes_to_the_destination_of_its_time_once() {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| directory.path().join(name));
    let [a, b] = [0, 1].map(|n| to_file(&paths[n]));
    let off = Log { flows: FlowFormat::Off, to: b.to.clone() };
    let vpc = Log { flows: FlowFormat::Vpc, to: b.to.clone() };
    let mut log = FlowLog::open(&a).unwrap();
    let mut before = &a;
    let mut expected = [String::new(), String::new()];
    for (round, (now, file)) in
        [(&b, Some(1)), (&vpc, Some(1)), (&a, Some(0)), (&off, None), (&a, Some(0)), (&b, Some(1))]
            .into_iter()
            .enumerate()
    {
        exchange(&mut log, before, now);
        before = now;
        assert_eq!(log.format(), now.flows);
        for number in 0..1000 {
            let line = format!("{round} {number}");
            log.write(|bytes| bytes.extend(line.as_bytes()));
            if let Some(file) = file {
                expected[file].extend([&*line, "\n"]);
            }
        }
    }
    assert_eq!(log.take_lost(), 0);
    log.close();
    // A writer that has ended may be followed by another one of the same file.
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for (path, expected) in paths.iter().zip(&expected) {
        assert_eq!(sorted(&std::fs::read_to_string(path).unwrap()), sorted(expected));
    }
}

#[test]
fn a_destination_that_hangs_does_not_keep_the_next_one_from_its_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.log");
    let (go, mut log) = gated();
    put(&mut log, "one");
    exchange(&mut log, &Log::default(), &to_file(&path));
    put(&mut log, "two");
    while std::fs::read_to_string(&path).unwrap() != "two\n" {
        thread::yield_now();
    }
    assert_eq!(log.former.len(), 1);
    go.send(Ok(())).unwrap();
    log.close();
}

#[test]
fn a_destination_that_cannot_be_opened_is_an_error_and_one_that_stays_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let (lost, missing) = (LostLines::default(), directory.path().join("missing/flows.log"));
    let to_missing = to_file(&missing);
    let error = NextLog::open(&to_missing, &Log::default(), &lost).unwrap_err().to_string();
    assert_eq!(error, format!("flow log {}", missing.display()));
    let vpc = Log { flows: FlowFormat::Vpc, to: to_missing.to.clone() };
    let next = NextLog::open(&vpc, &to_missing, &lost).unwrap();
    assert!(matches!(next.queue, NextQueue::Same), "{next:?}");
}
