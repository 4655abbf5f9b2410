//! A list of steps with their times, printed as a table at the end.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// The steps done so far.
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

/// Does `work` and prints the table, even after a failure. An error if a step failed.
pub(crate) fn run(work: impl FnOnce(&mut Steps) -> Result<()>) -> Result<()> {
    let start = Instant::now();
    let mut steps = Steps::default();
    let ended = work(&mut steps);
    eprintln!("\n{}", steps.table(start.elapsed()));
    ended.and_then(|()| steps.all_passed())
}

impl Steps {
    /// Does a step; a failure is kept for the table so that the next steps run all the same.
    pub(crate) fn check(&mut self, name: &'static str, check: impl FnOnce() -> Result<()>) {
        let outcome = self.time(name, check);
        if let Err(error) = outcome {
            self.fail(format!("{error:#}"));
        }
    }

    /// Does a step that the next ones need.
    pub(crate) fn need<T>(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let outcome = self.time(name, step);
        if let Err(error) = &outcome {
            self.fail(format!("{error:#}"));
        }
        outcome
    }

    /// An error if a step failed.
    pub(crate) fn all_passed(&self) -> Result<()> {
        let failed = self.done.iter().filter(|step| step.failure.is_some()).count();
        if failed > 0 {
            bail!("{failed} of {} failed", self.done.len());
        }
        Ok(())
    }

    fn time<T>(&mut self, name: &'static str, step: impl FnOnce() -> T) -> T {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let outcome = step();
        self.done.push(Step { name, failure: None, duration: start.elapsed() });
        outcome
    }

    /// Says why the last step failed.
    fn fail(&mut self, why: String) {
        if let Some(step) = self.done.last_mut() {
            step.failure = Some(why);
        }
    }

    fn table(&self, total: Duration) -> String {
        let width = self.done.iter().map(|step| step.name.len()).max().unwrap_or_default();
        let mut table = String::new();
        for step in &self.done {
            let (verdict, why) = match &step.failure {
                None => ("passed", String::new()),
                Some(why) => ("FAILED", format!(": {why}")),
            };
            let (name, seconds) = (step.name, step.duration.as_secs());
            let _ = writeln!(table, "{verdict}  {name:width$}  {seconds:4} s{why}");
        }
        let _ = writeln!(table, "        {:width$}  {:4} s", "in all", total.as_secs());
        table
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
            steps.table(Duration::from_secs(61)),
            "FAILED  first          0 s: cargo test failed: exit status 1\n\
             passed  second one     0 s\n        in all        61 s\n"
        );
        assert_eq!(steps.all_passed().unwrap_err().to_string(), "1 of 2 failed");
    }

    #[test]
    fn what_others_need_ends_the_run_and_is_in_the_table() {
        let mut reached = false;
        let ended = run(|steps| {
            let made = steps.need("made", || Ok(7))?;
            assert_eq!(made, 7);
            let failed = steps.need::<()>("failed", || bail!("no compiler"));
            assert!(steps.table(Duration::ZERO).contains("FAILED  failed     0 s: no compiler\n"));
            failed?;
            reached = true;
            Ok(())
        });
        assert!(!reached);
        assert_eq!(ended.unwrap_err().to_string(), "no compiler");
    }

    #[test]
    fn all_passed_is_success() {
        run(|steps| {
            steps.check("only", || Ok(()));
            Ok(())
        })
        .unwrap();
        assert!(
            run(|steps| {
                steps.check("only", || bail!("wrong"));
                Ok(())
            })
            .is_err()
        );
    }
}
