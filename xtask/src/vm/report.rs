//! What a guest reported about itself.

use std::{fmt, time::Duration};

use anyhow::{Result, bail};

/// How many tests passed and failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    passed: usize,
    ignored: usize,
    /// Their names.
    pub(super) failed: Vec<String>,
}

impl Counts {
    fn add(&mut self, name: &str, outcome: &str) {
        match outcome {
            "ok" => self.passed += 1,
            "FAILED" => self.failed.push(name.to_owned()),
            _ => self.ignored += 1,
        }
    }
}

/// The parts of a line like `test web::https ... ok`. A line `test result: …` has none.
fn test_line(line: &str) -> Option<(&str, &str)> {
    line.trim_end().strip_prefix("test ")?.split_once(" ... ")
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, ignored, failed } = self;
        write!(formatter, "{passed} passed, {} failed, {ignored} ignored", failed.len())
    }
}

/// The lines of the second serial port, understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Report {
    /// The kernel's release and how long it took to boot, if it did.
    pub(super) booted: Option<(String, Duration)>,
    pub(super) counts: Counts,
    /// The lines of classes of packets (`cargo xtask bench packets`).
    pub(super) classes: Vec<String>,
    /// The exit status of what the guest was to run, if that ended.
    exit: Option<i32>,
}

impl Report {
    /// Reads the lines that `boot.sh` writes; a serial line ends with a carriage return as well.
    pub(super) fn parse(text: &str) -> Self {
        let mut report = Self::default();
        for line in text.lines() {
            if let Some((name, outcome)) = test_line(line) {
                report.counts.add(name, outcome);
            }
            if line.starts_with("class\t") {
                report.classes.push(line.trim_end().to_owned());
            }
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["booted", release, seconds] => {
                    let boot = seconds.parse().ok().map(Duration::try_from_secs_f64);
                    let boot = boot.and_then(Result::ok).unwrap_or_default();
                    report.booted = Some((release.to_owned(), boot));
                }
                ["exit", status] => report.exit = status.parse().ok(),
                _ => {}
            }
        }
        report
    }

    /// An error unless the guest did what it was to do; with tests, at least one of them.
    pub(super) fn verdict(&self, with_tests: bool) -> Result<()> {
        if self.booted.is_none() {
            bail!("it did not boot");
        }
        if !self.counts.failed.is_empty() {
            bail!("tests failed");
        }
        match self.exit {
            None => bail!("it ended before the tests did"),
            Some(0) if with_tests && self.counts.passed == 0 => bail!("no test matches"),
            Some(0) => Ok(()),
            Some(status) => bail!("exit status {status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOTED: &str = "booted 6.1.0-56-cloud-amd64 4.21\r\n";

    fn error(text: &str, with_tests: bool) -> String {
        Report::parse(text).verdict(with_tests).unwrap_err().to_string()
    }

    #[test]
    fn reads_what_the_guest_writes() {
        let report = Report::parse(&format!(
            "{BOOTED}test web::https ... ok\r\ntest web::slow ... ignored, takes minutes\r\n\
             test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured\r\nexit 0\r\n"
        ));
        let boot = Duration::from_millis(4210);
        assert_eq!(report.booted, Some(("6.1.0-56-cloud-amd64".to_owned(), boot)));
        assert_eq!(report.counts.to_string(), "1 passed, 0 failed, 1 ignored");
        report.verdict(true).unwrap();
    }

    #[test]
    fn a_failed_test_is_named() {
        let text = format!("{BOOTED}test web::https ... FAILED\r\nexit 101\r\n");
        assert_eq!(error(&text, true), "tests failed");
        assert_eq!(Report::parse(&text).counts.failed, ["web::https"]);
    }

    #[test]
    fn silence_is_no_success() {
        assert_eq!(error("", true), "it did not boot");
        assert_eq!(error(BOOTED, true), "it ended before the tests did");
        assert_eq!(error(&format!("{BOOTED}exit 0\r\n"), true), "no test matches");
        assert_eq!(error(&format!("{BOOTED}exit 3\r\n"), false), "exit status 3");
        Report::parse(&format!("{BOOTED}exit 0\r\n")).verdict(false).unwrap();
    }
}
