//! The sysctls below `/proc/sys/net` that connections depend on, in the calling thread's network namespace.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use proxyip_common::settings::NamespaceSettings;

const ROOT: &str = "/proc/sys/net";
/// `net.core.rmem_max` where a namespace does not show it: the kernel's default.
const RMEM_MAX: u64 = 212_992;
/// Largest shift count of RFC 7323 §2.3.
const MAX_SHIFT: u32 = 14;

/// The settings as they are now; cookie, epoch and timestamp offset are left at 0.
///
/// # Errors
/// If a sysctl that every kernel has cannot be read.
pub(crate) fn read() -> Result<NamespaceSettings> {
    let [_, default, largest] = triple("ipv4/tcp_rmem")?;
    let rmem_max = optional("core/rmem_max")?.unwrap_or(RMEM_MAX);
    let loose = optional("netfilter/nf_conntrack_tcp_loose")?.unwrap_or(1);
    let mut flags = 0;
    for (flag, value) in [
        (NamespaceSettings::SYNCOOKIES, required("ipv4/tcp_syncookies")?),
        (NamespaceSettings::TIMESTAMPS, required("ipv4/tcp_timestamps")?),
        (NamespaceSettings::SACK, required("ipv4/tcp_sack")?),
        (NamespaceSettings::WINDOW_SCALING, required("ipv4/tcp_window_scaling")?),
        (NamespaceSettings::CONNTRACK_LOOSE, loose),
        (NamespaceSettings::ECN, required("ipv4/tcp_ecn")?),
    ] {
        if value != 0 {
            flags |= flag;
        }
    }
    Ok(NamespaceSettings {
        cookie: 0,
        epoch_ns: 0,
        nat_since_ns: 0,
        timestamp_offset: 0,
        window: window(default),
        window_scale: window_scale(largest.max(rmem_max)),
        flags,
    })
}

/// `net.ipv4.tcp_fin_timeout` in seconds.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn fin_timeout() -> Result<u64> {
    required("ipv4/tcp_fin_timeout")
}

/// `net.ipv4.tcp_synack_retries`.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn synack_retries() -> Result<u64> {
    required("ipv4/tcp_synack_retries")
}

/// `net.core.bpf_jit_enable`; `None` where it does not show, as in any namespace but the first.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn jit() -> Result<Option<u64>> {
    optional("core/bpf_jit_enable")
}

/// The initial window of a socket with this receive buffer: the kernel takes half of it for payload
/// (`TCP_DEFAULT_SCALING_RATIO`).
fn window(buffer: u64) -> u16 {
    u16::try_from(buffer / 2).unwrap_or(u16::MAX)
}

/// The shift count for windows up to `space` bytes, as in `tcp_select_initial_window()`
/// (<https://elixir.bootlin.com/linux/v6.9/source/net/ipv4/tcp_output.c>).
fn window_scale(space: u64) -> u8 {
    let shift = space.checked_ilog2().unwrap_or(0).saturating_sub(15).min(MAX_SHIFT);
    u8::try_from(shift).expect("14 at most")
}

fn required(name: &str) -> Result<u64> {
    optional(name)?.with_context(|| format!("{ROOT}/{name} is missing"))
}

fn optional(name: &str) -> Result<Option<u64>> {
    let Some(text) = text(name)? else { return Ok(None) };
    let value = text.trim().parse().with_context(|| format!("{ROOT}/{name} holds no number"))?;
    Ok(Some(value))
}

fn triple(name: &str) -> Result<[u64; 3]> {
    let text = text(name)?.with_context(|| format!("{ROOT}/{name} is missing"))?;
    let numbers: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
    numbers
        .ok()
        .and_then(|numbers| numbers.try_into().ok())
        .with_context(|| format!("{ROOT}/{name} does not hold three numbers"))
}

fn text(name: &str) -> Result<Option<String>> {
    let path = Path::new(ROOT).join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_scales_are_the_kernels() {
        // tcp_rmem[2] of 6 MiB, the default, gives 7; 32 MiB gives 10.
        for (space, expected) in [(0, 0), (65_535, 0), (6 << 20, 7), (32 << 20, 10), (1 << 40, 14)]
        {
            assert_eq!(window_scale(space), expected, "{space}");
        }
    }

    #[test]
    fn windows_are_half_the_buffer() {
        assert_eq!(window(131_072), 65_535);
        assert_eq!(window(16_384), 8_192);
    }
}
