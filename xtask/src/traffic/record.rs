//! The record of a measurement: a file in the repository.

use std::{fs, path::Path, thread};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::samples::Lines;
use crate::packets::{commit, processor, release};

/// What was measured, where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) commit: String,
    /// What the kernel calls itself.
    pub(super) release: String,
    pub(super) processor: String,
    /// How many there were.
    pub(super) processors: usize,
    pub(super) rounds: usize,
    pub(super) groups: Vec<Group>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) programs: Vec<Programs>,
}

/// Contenders that are compared with the first of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) contenders: Vec<Contender>,
}

/// What a contender did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Contender {
    pub(super) name: String,
    /// The median of all rounds. It depends on the host.
    pub(super) median: f64,
    /// The least and the greatest of all rounds. Older records do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) range: Option<[f64; 2]>,
    /// How many times what the first contender of the group did in the same round: least, median, greatest.
    pub(super) ratio: [f64; 3],
    /// In all rounds.
    pub(super) errors: u64,
}

/// What an agent's kernel programs cost of each answer, by the kernel's statistics. Or what the agent itself does, then
/// without programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Programs {
    pub(super) contender: String,
    pub(super) nanoseconds: f64,
    /// Of the time that all processors have for an answer without proxyip: least, median, greatest.
    pub(super) share: [f64; 3],
    pub(super) each: Vec<Program>,
}

/// One of them; medians.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) runs: f64,
    pub(super) nanoseconds: f64,
    pub(super) share: f64,
}

/// How the names of contenders begin that are neither proxyip nor the server alone.
const RIVALS: [&str; 4] = ["nginx", "HAProxy", "mmproxy-rs", "kernel"];

impl Contender {
    fn is_rival(&self) -> bool {
        RIVALS.iter().any(|rival| self.name.starts_with(rival))
    }

    pub(super) const fn median_ratio(&self) -> f64 {
        self.ratio[1]
    }
}

impl Record {
    /// From what the measuring program prints.
    pub(super) fn of(lines: &str) -> Result<Self> {
        let lines = Lines::parse(lines)?;
        Ok(Self {
            commit: commit(),
            release: release(),
            processor: processor(),
            processors: thread::available_parallelism()?.get(),
            rounds: lines.rounds()?,
            groups: lines.groups(),
            programs: lines.programs(),
        })
    }

    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| path.display().to_string())
    }

    /// All contenders, with the names of their groups.
    pub(super) fn contenders(&self) -> impl Iterator<Item = (&str, &Contender)> {
        self.groups
            .iter()
            .flat_map(|group| group.contenders.iter().map(|contender| (&*group.name, contender)))
    }

    /// What the contender did.
    pub(super) fn find(&self, group: &str, name: &str) -> Option<&Contender> {
        let mut contenders = self.contenders();
        contenders
            .find(|(of, contender)| *of == group && contender.name == name)
            .map(|(_, one)| one)
    }

    /// An error if only one of two records has a contender.
    pub(super) fn same_contenders(&self, before: &Self) -> Result<()> {
        let missing = |from: &Self, of: &Self| {
            let all = of.contenders();
            let missing = all.filter(|(group, one)| from.find(group, &one.name).is_none());
            missing.map(|(group, one)| format!("{group}: {}", one.name)).collect::<Vec<_>>()
        };
        let (lost, new) = (missing(self, before), missing(before, self));
        if !lost.is_empty() {
            bail!("not measured: {}", lost.join(", "));
        }
        if !new.is_empty() {
            bail!("not in the record: {}", new.join(", "));
        }
        Ok(())
    }

    /// An error if a contender had errors. Those of rivals are in the table: this project cannot mend them.
    pub(super) fn without_errors(&self) -> Result<()> {
        let failed = self.contenders().filter(|(_, one)| one.errors > 0 && !one.is_rival());
        let failed: Vec<_> = failed
            .map(|(group, one)| format!("{group}: {} had {} errors", one.name, one.errors))
            .collect();
        if !failed.is_empty() {
            bail!("{}", failed.join(", "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(names: &[&str]) -> Record {
        let line = |name: &&str| format!("sample\tup\t{name}\t7\t0\n");
        Record::of(&names.iter().map(line).collect::<String>()).unwrap()
    }

    #[test]
    fn a_contender_that_only_one_of_them_has_is_an_error() {
        let (one, both) = (record(&["direct"]), record(&["direct", "mmproxy-rs"]));
        both.same_contenders(&both).unwrap();
        let lost = one.same_contenders(&both).unwrap_err().to_string();
        assert_eq!(lost, "not measured: up: mmproxy-rs");
        let new = both.same_contenders(&one).unwrap_err().to_string();
        assert_eq!(new, "not in the record: up: mmproxy-rs");
    }

    #[test]
    fn a_contender_with_errors_says_so() {
        let good = record(&["direct"]);
        good.without_errors().unwrap();
        let bad = Record::of("sample\tup\tdirect\t7\t2\n").unwrap();
        let error = bad.without_errors().unwrap_err().to_string();
        assert_eq!(error, "up: direct had 2 errors");
        let of_rival = Record::of("sample\tup\tmmproxy-rs\t7\t2\n").unwrap();
        of_rival.without_errors().unwrap();
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("connections.json");
        let record = record(&["direct", "mmproxy-rs"]);
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), record);
    }
}
