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
