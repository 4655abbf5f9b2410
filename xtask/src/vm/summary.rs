//! The table at the end.

use anyhow::{Result, bail};

use super::machine::Outcome;

/// Prints a line for each guest, followed by the tests that failed there; an error if one of them is no success.
pub(super) fn print(outcomes: &[Outcome]) -> Result<()> {
    eprintln!("\n{}", table(outcomes));
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    if failed > 0 {
        bail!("{failed} of {} kernels failed", outcomes.len());
    }
    Ok(())
}

fn table(outcomes: &[Outcome]) -> String {
    outcomes.iter().map(entry).collect()
}

fn entry(outcome: &Outcome) -> String {
    let name = outcome.kernel.name();
    let (release, boot) = match &outcome.report.booted {
        Some((release, boot)) => (release.as_str(), format!("booted in {} s", boot.as_secs())),
        None => ("", String::new()),
    };
    let counts = outcome.report.counts.to_string();
    let seconds = outcome.duration.as_secs();
    let verdict = if outcome.failure.is_some() { "FAILED" } else { "passed" };
    let why = outcome.failure.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let mut lines =
        vec![format!("{verdict}  {name:6}  {release:28}  {boot:13}  {counts}  {seconds} s{why}")];
    lines.extend(outcome.report.counts.failed.iter().map(|test| format!("        {test}")));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::{kernel::Kernel, report::Report};
    use std::time::Duration;

    fn outcome(kernel: Kernel, report: &str, failure: Option<&str>) -> Outcome {
        let report = Report::parse(report);
        let failure = failure.map(str::to_owned);
        Outcome { kernel, report, failure, duration: Duration::from_secs(100) }
    }

    #[test]
    fn each_kernel_has_a_line_and_one_failure_is_a_failure() {
        let outcomes = [
            outcome(Kernel::Trixie, "booted 6.12.1-cloud-amd64 4.9\ntest a ... ok\nexit 0", None),
            outcome(Kernel::Bullseye, "test web::https ... FAILED", Some("it did not boot")),
        ];
        assert_eq!(
            table(&outcomes),
            "passed  6.12    6.12.1-cloud-amd64            booted in 4 s  \
             1 passed, 0 failed, 0 ignored  100 s\n\
             FAILED  5.10                                                 \
             0 passed, 1 failed, 0 ignored  100 s: it did not boot\n        web::https\n"
        );
        assert_eq!(print(&outcomes).unwrap_err().to_string(), "1 of 2 kernels failed");
        print(&outcomes[..1]).unwrap();
    }
}
