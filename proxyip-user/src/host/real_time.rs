//! Kernels whose softirqs preempt one another on a processor.
//!
//! The kernel programs have a working memory for each processor. One packet must have left it before the next one comes.
//! With `PREEMPT_RT`, Linux 6.18 and later guarantee that only if `PREEMPT_RT_NEEDS_BH_LOCK` is set: see
//! `__local_bh_disable_ip()` in `kernel/softirq.c`.

use std::fs;

use anyhow::{Context, Result};

/// The first version whose softirqs may preempt one another.
const FIRST: (u32, u32) = (6, 18);
const ORDERED: &str = "CONFIG_PREEMPT_RT_NEEDS_BH_LOCK=y";

/// Whether two packets may be in the kernel programs at a time on a processor of this kernel.
pub(crate) fn softirqs_preempt(release: &str) -> Result<bool> {
    let version = fs::read_to_string("/proc/sys/kernel/version")
        .context("the kernel's version cannot be read")?;
    // Debian and others have it there. Without it, the kernel counts as one that lacks the option.
    let options = fs::read_to_string(format!("/boot/config-{release}")).unwrap_or_default();
    Ok(preempt(release, &version, &options))
}

fn preempt(release: &str, version: &str, options: &str) -> bool {
    let is_real_time = version.split_whitespace().any(|word| word == "PREEMPT_RT");
    is_real_time && number(release) >= FIRST && !options.lines().any(|line| line == ORDERED)
}

/// Major and minor number, 0 for what is none.
fn number(release: &str) -> (u32, u32) {
    let mut parts = release.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || parts.next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_kernels_since_6_18_preempt_unless_they_have_the_option() {
        const RT: &str = "#1 SMP PREEMPT_RT Debian 6.18.5-1 (2026-01-16)\n";
        let without = "# CONFIG_PREEMPT_RT_NEEDS_BH_LOCK is not set\n";
        let with = format!("CONFIG_PREEMPT_RT=y\n{ORDERED}\n");
        for (release, version, options, expected) in [
            ("6.18.5+deb14-rt-amd64", RT, "", true),
            ("6.18.5+deb14-rt-amd64", RT, without, true),
            ("7.0-rt", RT, without, true),
            ("6.18-rc1", RT, "", true),
            ("6.18.5+deb14-rt-amd64", RT, &*with, false),
            ("6.17.13-rt", RT, "", false),
            ("6.1.0-56-rt-amd64", RT, "", false),
            ("6.18.44", "#1 SMP PREEMPT_DYNAMIC @0\n", "", false),
            ("6.18.44", "#1 SMP PREEMPT\n", "", false),
        ] {
            assert_eq!(
                preempt(release, version, options),
                expected,
                "{release} {version}{options}"
            );
        }
    }
}
