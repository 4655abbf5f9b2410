//! A list of checks that all run, with one summary at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The checks done so far.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

struct Step {
    name: &'static str,
    /// Why it failed, if it did.
    failure: Option<String>,
    duration: Duration,
}

impl Steps {
    /// Does one check; a failure is kept for the summary so that the next checks run all the same.
    pub(crate) fn check(&mut self, name: &'static str, check: impl FnOnce() -> Result<()>) {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let failure = check().err().map(|error| format!("{error:#}"));
        self.done.push(Step { name, failure, duration: start.elapsed() });
    }

    /// Prints the summary; an error if a check failed.
    pub(crate) fn finish(self) -> Result<()> {
        eprintln!("\n{}", self.summary());
        let failed = self.done.iter().filter(|step| step.failure.is_some()).count();
        if failed > 0 {
            bail!("{failed} of {} failed", self.done.len());
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let width = self.done.iter().map(|step| step.name.len()).max().unwrap_or_default();
        let line = |step: &Step| {
            let seconds = step.duration.as_secs();
            match &step.failure {
                None => format!("passed  {:width$}  {seconds} s\n", step.name),
                Some(why) => format!("FAILED  {:width$}  {seconds} s: {why}\n", step.name),
            }
        };
        self.done.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, anyhow};

    #[test]
    fn a_failure_stops_nothing_but_is_not_forgotten() {
        let mut steps = Steps::default();
        let mut ran = false;
        steps.check("first", || Err(anyhow!("exit status 1")).context("cargo test failed"));
        steps.check("second one", || {
            ran = true;
            Ok(())
        });
        assert!(ran);
        assert_eq!(
            steps.summary(),
            "FAILED  first       0 s: cargo test failed: exit status 1\n\
             passed  second one  0 s\n"
        );
        assert_eq!(steps.finish().unwrap_err().to_string(), "1 of 2 failed");
    }

    #[test]
    fn all_passed_is_success() {
        let mut steps = Steps::default();
        steps.check("only", || Ok(()));
        steps.finish().unwrap();
    }
}
