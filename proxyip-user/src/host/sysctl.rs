//! The sysctls below `/proc/sys/net` that connections depend on, in the calling thread's network namespace.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use proxyip_common::settings::NamespaceSettings;

const ROOT: &str = "/proc/sys/net";
/// `net.core.rmem_max` where a namespace does not show it: the kernel's default.
const RMEM_MAX: u64 = 212_992;
/// Largest shift count of RFC 7323 §2.3.
const MAX_SHIFT: u32 = 14;

/// The sysctls of one namespace, as they are now.
pub(crate) struct Sysctls {
    /// What the kernel programs need; cookie, epoch and timestamp offset are left at 0.
    pub(crate) settings: NamespaceSettings,
    /// `net.ipv4.tcp_fin_timeout` in seconds.
    pub(crate) fin_timeout: u64,
    /// Connections are tracked here, or can be.
    pub(crate) has_conntrack: bool,
}

/// Reads them.
///
/// # Errors
/// If a sysctl that every kernel has cannot be read.
pub(crate) fn read() -> Result<Sysctls> {
    let ipv4 = Directory::open("ipv4")?;
    let core = Directory::open("core")?;
    let netfilter = Directory::open("netfilter")?;
    let [_, default, largest] = ipv4.triple("tcp_rmem")?;
    let rmem_max = core.optional("rmem_max")?.unwrap_or(RMEM_MAX);
    let loose = netfilter.optional("nf_conntrack_tcp_loose")?;
    let mut flags = 0;
    for (flag, value) in [
        (NamespaceSettings::SYNCOOKIES, ipv4.required("tcp_syncookies")?),
        (NamespaceSettings::TIMESTAMPS, ipv4.required("tcp_timestamps")?),
        (NamespaceSettings::SACK, ipv4.required("tcp_sack")?),
        (NamespaceSettings::WINDOW_SCALING, ipv4.required("tcp_window_scaling")?),
        (NamespaceSettings::CONNTRACK_LOOSE, loose.unwrap_or(1)),
        (NamespaceSettings::ECN, ipv4.required("tcp_ecn")?),
    ] {
        if value != 0 {
            flags |= flag;
        }
    }
    let settings = NamespaceSettings {
        cookie: 0,
        epoch_ns: 0,
        nat_since_ns: 0,
        timestamp_offset: 0,
        window: window(default),
        window_scale: window_scale(largest.max(rmem_max)),
        flags,
    };
    let fin_timeout = ipv4.required("tcp_fin_timeout")?;
    Ok(Sysctls { settings, fin_timeout, has_conntrack: loose.is_some() })
}

/// `net.ipv4.tcp_synack_retries`.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn synack_retries() -> Result<u64> {
    Directory::open("ipv4")?.required("tcp_synack_retries")
}

/// `net.core.bpf_jit_enable`; `None` where it does not show, as in any namespace but the first.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn jit() -> Result<Option<u64>> {
    Directory::open("core")?.optional("bpf_jit_enable")
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

/// A directory of sysctls. Its name is looked up once: in the kernel, that takes the longer the more namespaces there are,
/// for all have a directory of this name in one chain.
struct Directory {
    name: &'static str,
    /// `None` if the kernel or the namespace has none.
    file: Option<OwnedFd>,
}

impl Directory {
    fn open(name: &'static str) -> Result<Self> {
        let path = Path::new(ROOT).join(name);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let file = match open(&path, flags, Mode::empty()) {
            Ok(file) => Some(file),
            Err(Errno::ENOENT) => None,
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read", path.display()));
            }
        };
        Ok(Self { name, file })
    }

    fn required(&self, name: &str) -> Result<u64> {
        self.optional(name)?.with_context(|| format!("{} is missing", self.path(name)))
    }

    fn optional(&self, name: &str) -> Result<Option<u64>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let value = text.trim().parse();
        value.map(Some).with_context(|| format!("{} holds no number", self.path(name)))
    }

    fn triple(&self, name: &str) -> Result<[u64; 3]> {
        let text = self.text(name)?.with_context(|| format!("{} is missing", self.path(name)))?;
        let numbers: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
        numbers
            .ok()
            .and_then(|numbers| numbers.try_into().ok())
            .with_context(|| format!("{} does not hold three numbers", self.path(name)))
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        let Some(directory) = &self.file else { return Ok(None) };
        let cannot = || format!("{} cannot be read", self.path(name));
        match openat(directory, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(file) => io::read_to_string(File::from(file)).map(Some).with_context(cannot),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error).with_context(cannot),
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{ROOT}/{}/{name}", self.name)
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
    fn what_is_not_there_is_missing_or_none() {
        let ipv4 = Directory::open("ipv4").unwrap();
        assert!(ipv4.required("tcp_fin_timeout").unwrap() > 0);
        assert_eq!(ipv4.optional("no_such").unwrap(), None);
        let missing = ipv4.required("no_such").unwrap_err().to_string();
        assert_eq!(missing, "/proc/sys/net/ipv4/no_such is missing");
        let text = ipv4.optional("tcp_rmem").unwrap_err().to_string();
        assert_eq!(text, "/proc/sys/net/ipv4/tcp_rmem holds no number");
        let nowhere = Directory::open("no_such").unwrap();
        assert_eq!(nowhere.optional("loose").unwrap(), None);
    }

    #[test]
    fn windows_are_half_the_buffer() {
        assert_eq!(window(131_072), 65_535);
        assert_eq!(window(16_384), 8_192);
    }
}
