//! Running one guest from its start to its end, or to the end of patience.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    cache,
    console::{Console, Shown},
    kernel::{self, Kernel},
    qemu::{Clock, Guest, Qemu},
    report::Report,
};

/// A guest that prints nothing for so long hangs: the slowest test takes a minute, on a busy host
/// two.
const SILENCE: Duration = Duration::from_mins(5);

/// The end of a guest that prints for ever.
const LIMIT: Duration = Duration::from_hours(2);

/// What all guests need.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) qemu: &'a Qemu,
    pub(super) system: &'a Path,
    pub(super) payload: PathBuf,
    /// Whether the payload runs tests. Then at least one of them must pass.
    pub(super) with_tests: bool,
    pub(super) clock: Clock,
}

/// How one guest ended.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) kernel: Kernel,
    pub(super) report: Report,
    /// Why it is no success, in one line.
    pub(super) failure: Option<String>,
    pub(super) duration: Duration,
}

/// Boots `kernel`, waits for its end, and prints its last lines if it is no success.
pub(super) fn run(parts: &Parts<'_>, kernel: Kernel, files: &kernel::Files) -> Outcome {
    let start = Instant::now();
    let name = kernel.name();
    let suffix = parts.clock.suffix();
    let log = cache::directory().join(format!("{name}{suffix}.log"));
    let report_file = cache::directory().join(format!("{name}{suffix}.report"));
    let guest = Guest {
        kernel: files,
        system: parts.system,
        payload: &parts.payload,
        report: &report_file,
        clock: parts.clock,
    };
    let ended = File::create(&log).context("cannot write a log").and_then(|file| {
        // Nobody is to read an earlier guest's.
        fs::write(&report_file, "").context("cannot write a report")?;
        let shown = if parts.with_tests { Shown::Tests } else { Shown::Everything };
        let mut console = Console::new(name, shown, file);
        let ended = watch(&mut parts.qemu.command(&guest)?, &mut console);
        Ok((ended, console))
    });
    let report = Report::parse(&fs::read_to_string(&report_file).unwrap_or_default());
    let failure = match ended {
        Err(error) => Some(format!("{error:#}")),
        Ok((ended, console)) => {
            let failure = ended.and_then(|()| report.verdict(parts.with_tests)).err();
            if failure.is_some() {
                eprintln!("{name}: the last lines of {}:\n{}", log.display(), console.last_lines());
            }
            failure.map(|error| format!("{error:#}"))
        }
    };
    Outcome { kernel, report, failure, duration: start.elapsed() }
}

/// Runs the emulator until it ends, with its output to `console`.
fn watch(command: &mut Command, console: &mut Console<File>) -> Result<()> {
    let start = Instant::now();
    let mut emulator = Emulator(command.spawn().context("cannot start the emulator")?);
    let output = emulator.output()?;
    loop {
        match output.recv_timeout(SILENCE) {
            Ok(bytes) => {
                console.take(&bytes, start.elapsed()).context("cannot write the log")?;
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                bail!("it hangs: nothing was printed for {} s", SILENCE.as_secs());
            }
        }
        if start.elapsed() > LIMIT {
            bail!("it does not end: {} s have passed", LIMIT.as_secs());
        }
    }
    let status = emulator.0.wait()?;
    if !status.success() {
        bail!("the emulator failed ({status})");
    }
    Ok(())
}

/// A running emulator, killed when nobody waits for it any more.
struct Emulator(Child);

impl Emulator {
    /// Reads its standard output as it comes; the channel closes with it.
    fn output(&mut self) -> Result<Receiver<Vec<u8>>> {
        let mut output = self.0.stdout.take().context("the emulator has no output")?;
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(receiver)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    fn watched(script: &str) -> (Result<()>, String) {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut console = Console::new("test", Shown::Tests, File::create(&log).unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        let ended = watch(&mut command, &mut console);
        (ended, fs::read_to_string(log).unwrap())
    }

    #[test]
    fn what_the_emulator_prints_is_in_the_log() {
        let (ended, log) = watched("echo one; echo two");
        ended.unwrap();
        assert!(log.contains("] one\n") && log.contains("] two\n"), "{log}");
    }

    #[test]
    fn an_emulator_that_fails_is_a_failure() {
        let (ended, log) = watched("echo sorry; exit 7");
        assert_eq!(ended.unwrap_err().to_string(), "the emulator failed (exit status: 7)");
        assert!(log.ends_with("] sorry\n"), "{log}");
    }
}
