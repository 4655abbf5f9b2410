//! The record of measurements: a file in the repository, for comparison.

use std::{collections::BTreeMap, env::consts::ARCH, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{command::probe, vm::Counted};

/// Where it is in the repository.
pub(super) const PLACE: &str = "docs/benchmarks/packets.json";

/// A class may need this many hundredths more than recorded.
const TOLERANCE: u64 = 10;

/// What was measured. Names of classes are those that the measuring program prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// On a host.
    pub(super) times: Option<Times>,
    /// On emulated machines, by kernel.
    #[serde(default)]
    pub(super) instructions: BTreeMap<String, Counts>,
}

/// Instructions on one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) commit: String,
    /// What the kernel calls itself.
    pub(super) release: String,
    /// Instructions for one packet.
    pub(super) classes: BTreeMap<String, u64>,
}

/// Times on one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Times {
    pub(super) commit: String,
    /// What the kernel calls itself.
    pub(super) release: String,
    pub(super) processor: String,
    pub(super) classes: BTreeMap<String, Time>,
}

/// The time for a packet of a class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Time {
    /// The least of all rounds.
    pub(super) nanoseconds: f64,
    /// How many times that of the class `reference` this is.
    pub(super) ratio: f64,
    /// The same in each round, as quartiles: how much the rounds differ.
    pub(super) quartiles: [f64; 3],
}

impl Record {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Puts what was measured into the file, which need not exist.
    pub(super) fn update(path: &Path, measured: &Self) -> Result<()> {
        let mut record = if path.exists() { Self::read(path)? } else { Self::default() };
        record.times = measured.times.clone().or(record.times);
        record.instructions.extend(measured.instructions.clone());
        let text = serde_json::to_string_pretty(&record)? + "\n";
        fs::write(path, text).with_context(|| path.display().to_string())
    }

    pub(super) fn add_counts(&mut self, counted: &Counted) -> Result<()> {
        let classes = counted.lines.iter().map(|line| {
            // A guest's clock is at the number of instructions.
            let (name, time) = parse(line)?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "few instructions; fewer than none are a rounding error"
            )]
            Ok((name, time.nanoseconds.round() as u64))
        });
        let classes: BTreeMap<_, _> = classes.collect::<Result<_>>()?;
        ensure!(!classes.is_empty(), "kernel {} has measured nothing", counted.kernel);
        let counts = Counts { commit: commit(), release: counted.release.clone(), classes };
        self.instructions.insert(counted.kernel.to_owned(), counts);
        Ok(())
    }

    /// An error if a class needs more instructions than `before`, or cannot be compared.
    pub(super) fn compare(&self, before: &Self) -> Result<()> {
        let mut wrong = Vec::new();
        for (kernel, counts) in &self.instructions {
            match before.instructions.get(kernel) {
                Some(before) => wrong.extend(counts.dearer_than(kernel, before)),
                None => wrong.push(format!("{kernel}: the record has no such kernel")),
            }
        }
        if !wrong.is_empty() {
            bail!("{}", wrong.join("\n"));
        }
        Ok(())
    }
}

impl Counts {
    fn dearer_than(&self, kernel: &str, before: &Self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (class, count) in &self.classes {
            match before.classes.get(class) {
                Some(before) if count * 100 > before * (100 + TOLERANCE) => wrong.push(format!(
                    "{kernel}: `{class}` needs {count} instructions, and needed {before}"
                )),
                Some(_) => {}
                None => wrong.push(format!("{kernel}: the record has no class `{class}`")),
            }
        }
        let lost = before.classes.keys().filter(|class| !self.classes.contains_key(*class));
        wrong.extend(lost.map(|class| format!("{kernel}: class `{class}` was not measured")));
        wrong
    }
}

impl Times {
    /// From what the measuring program prints on this host.
    pub(super) fn parse(lines: &str) -> Result<Self> {
        let mut classes = BTreeMap::new();
        for line in lines.lines() {
            let (name, time) = parse(line)?;
            classes.insert(name, time);
        }
        ensure!(!classes.is_empty(), "nothing was measured");
        Ok(Self { commit: commit(), release: release(), processor: processor(), classes })
    }
}

/// The name of a class, and what its packet cost.
fn parse(line: &str) -> Result<(String, Time)> {
    let mut fields = line.split('\t');
    ensure!(fields.next() == Some("class"), "a strange line: {line}");
    let name = fields.next().context("a class without a name")?.to_owned();
    let numbers: Vec<f64> = fields
        .map(|field| field.parse().with_context(|| format!("no number in {line}")))
        .collect::<Result<_>>()?;
    match numbers[..] {
        [nanoseconds, ratio, low, median, high] => {
            Ok((name, Time { nanoseconds, ratio, quartiles: [low, median, high] }))
        }
        _ => bail!("a strange line: {line}"),
    }
}

/// The commit that is checked out, with a mark if files differ from it that are no records of measurements.
pub(crate) fn commit() -> String {
    let git = |arguments: &[&str]| probe(Command::new("git").args(arguments));
    let Some(commit) = git(&["describe", "--always", "--exclude", "*"]) else {
        return "unknown".to_owned();
    };
    let changed = git(&["status", "--porcelain", "--", ":/", ":(top,exclude)docs/benchmarks"]);
    let mark = if changed.is_some_and(|changed| changed.is_empty()) { "" } else { "-dirty" };
    format!("{}{mark}", commit.trim())
}

/// What the running kernel calls itself.
pub(crate) fn release() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

pub(crate) fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or(ARCH, |(_, name)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(lines: &[&str]) -> Record {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let release = "6.12.1".to_owned();
        let mut record = Record::default();
        record.add_counts(&Counted { kernel: "6.12", release, lines }).unwrap();
        record
    }

    const SYN: &str = "class\tSYN, IPv4\t1000.000\t1\t1\t1\t1";
    const DEARER: &str = "class\tSYN, IPv4\t1101\t1\t1\t1\t1";
    const NEARLY: &str = "class\tSYN, IPv4\t1100\t1\t1\t1\t1";
    const OTHER: &str = "class\tRST, IPv4\t7\t1\t1\t1\t1";

    #[test]
    fn a_class_that_has_become_dearer_by_more_than_a_tenth_is_an_error() {
        let before = record(&[SYN]);
        before.compare(&before).unwrap();
        record(&[NEARLY]).compare(&before).unwrap();
        let error = record(&[DEARER]).compare(&before).unwrap_err().to_string();
        assert_eq!(error, "6.12: `SYN, IPv4` needs 1101 instructions, and needed 1000");
    }

    #[test]
    fn a_class_that_only_one_of_them_has_is_an_error() {
        let (one, both) = (record(&[SYN]), record(&[SYN, OTHER]));
        let error = both.compare(&one).unwrap_err().to_string();
        assert_eq!(error, "6.12: the record has no class `RST, IPv4`");
        let error = one.compare(&both).unwrap_err().to_string();
        assert_eq!(error, "6.12: class `RST, IPv4` was not measured");
        let error = one.compare(&Record::default()).unwrap_err().to_string();
        assert_eq!(error, "6.12: the record has no such kernel");
    }

    #[test]
    fn a_guest_that_has_measured_nothing_is_an_error() {
        let nothing = Counted { kernel: "6.12", release: String::new(), lines: Vec::new() };
        assert!(Record::default().add_counts(&nothing).is_err());
        assert!(parse("class\tSYN\t1\t2").is_err());
        assert!(Times::parse("").is_err());
    }

    #[test]
    fn what_was_measured_elsewhere_stays_in_the_record() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("packets.json");
        let times = Record { times: Some(Times::parse(OTHER).unwrap()), ..Record::default() };
        Record::update(&path, &times).unwrap();
        Record::update(&path, &record(&[SYN])).unwrap();
        let both = Record::read(&path).unwrap();
        assert_eq!(both.times, times.times);
        assert_eq!(both.instructions, record(&[SYN]).instructions);
    }
}
