//! The mounted file systems of a process, from `mountinfo` (`proc_pid_mountinfo(5)`).
//!
//! By hand: procfs reads this file too, but brings readers of everything else in `/proc`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where it is mounted.
    pub(crate) path: PathBuf,
    /// Its type, for example `cgroup2`.
    pub(crate) kind: String,
}

/// The file systems that the process below `/proc` sees, in the order in which they were mounted.
///
/// # Errors
/// If the process does not exist, or must not be looked at.
pub(crate) fn of(process: &Path) -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read(process.join("mountinfo"))?))
}

/// How many file systems of this type are mounted over one another where `path` is.
pub(crate) fn layers(mounts: &[Mount], path: &Path, kind: &str) -> usize {
    let below = mounts.iter().filter(|mount| mount.kind == kind && path.starts_with(&mount.path));
    let nearest = below.clone().map(|mount| &mount.path).max_by_key(|path| path.as_os_str().len());
    below.filter(|mount| Some(&mount.path) == nearest).count()
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// The mount point is the fifth field. The type follows a lone dash after the optional fields.
fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let path = PathBuf::from(OsString::from_vec(unescaped(fields.nth(4)?)));
    fields.find(|field| *field == b"-")?;
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    Some(Mount { path, kind })
}

/// Spaces, tabs, newlines and backslashes are written as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match escaped {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(text: &str) -> Vec<(String, String)> {
        let mounts = parse(text.as_bytes()).into_iter();
        mounts.map(|mount| (mount.path.display().to_string(), mount.kind)).collect()
    }

    #[test]
    fn mounts_are_read() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                    38 31 0:38 / /sys/fs/cgroup/unified rw shared:9 master:1 - cgroup2 cgroup2 rw\n\
                    40 31 0:39 /a /mnt/a\\040b\\134 rw - bpf bpf rw\n\
                    broken\n";
        let expected = [
            ("/sys/fs/cgroup", "tmpfs"),
            ("/sys/fs/cgroup/unified", "cgroup2"),
            ("/mnt/a b\\", "bpf"),
        ];
        assert_eq!(mounts(text), expected.map(|(path, kind)| (path.into(), kind.into())));
    }

    #[test]
    fn file_systems_over_one_another_are_counted() {
        let mount = |path: &str, kind: &str| Mount { path: path.into(), kind: kind.into() };
        let one = [mount("/", "ext4"), mount("/sys/fs/bpf", "bpf"), mount("/mnt", "bpf")];
        let pins = Path::new("/sys/fs/bpf/proxyip");
        assert_eq!(layers(&one, pins, "bpf"), 1);
        assert_eq!(layers(&one, Path::new("/var/pins"), "bpf"), 0);
        let two = [&one[..], &[mount("/sys/fs/bpf", "bpf")]].concat();
        assert_eq!(layers(&two, pins, "bpf"), 2);
        // One that is mounted inside another hides nothing of it.
        let inside = [&one[..], &[mount("/sys/fs/bpf/proxyip", "bpf")]].concat();
        assert_eq!(layers(&inside, pins, "bpf"), 1);
    }

    #[test]
    fn the_own_mounts_are_found() {
        let own = of(Path::new("/proc/self")).unwrap();
        assert!(own.iter().any(|mount| mount.kind == "proc"), "{own:?}");
    }
}
