//! BPF file systems, which pins must be on.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::mounts::{self, Mount};

/// Where one is mounted by custom.
const CUSTOMARY: &str = "/sys/fs/bpf";
/// The type of the file system.
const KIND: &str = "bpf";

/// Makes sure that a directory is, or would be, on a BPF file system.
///
/// # Errors
/// Says how to mount one, or where one is mounted.
pub(crate) fn check(pin_path: &Path) -> Result<()> {
    let there = pin_path.ancestors().find(|path| path.exists());
    let there = there.with_context(|| format!("{} is no absolute path", pin_path.display()))?;
    let kind = statfs(there).with_context(|| format!("{} is unusable", there.display()))?;
    ensure!(
        kind.filesystem_type() == BPF_FS_MAGIC,
        "{}",
        sentence(pin_path, &mounts::of(Path::new("/proc/self")).unwrap_or_default())
    );
    Ok(())
}

fn sentence(pin_path: &Path, mounts: &[Mount]) -> String {
    let pins = pin_path.display();
    if pin_path.starts_with(CUSTOMARY) {
        return format!(
            "no BPF file system is mounted where {pins} would be: `mount -t bpf bpf {CUSTOMARY}`"
        );
    }
    let what_to_do = match mounts.iter().find(|mount| mount.kind == KIND) {
        Some(mount) => format!("one is mounted at {}", mount.path.display()),
        None => format!("`mount -t bpf bpf {CUSTOMARY}` mounts one"),
    };
    format!("{pins} would not be on a BPF file system: choose a pin path below one ({what_to_do})")
}

/// The directories on BPF file systems, at most one below where these are mounted, that have pins of proxyip. `is_ours`
/// judges by the name of an entry.
pub(crate) fn pin_paths(is_ours: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mounts = mounts::of(Path::new("/proc/self")).unwrap_or_default();
    let roots = mounts.into_iter().filter(|mount| mount.kind == KIND).map(|mount| mount.path);
    let mut paths: Vec<_> = roots.flat_map(|root| below(&root, &is_ours)).collect();
    paths.sort();
    paths.dedup();
    paths
}

fn below(root: &Path, is_ours: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = |directory: &Path| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let name = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let has_pins =
        |directory: &PathBuf| entries(directory).iter().filter_map(name).any(|name| is_ours(&name));
    let mut found = entries(root);
    found.push(root.to_owned());
    found.retain(has_pins);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_mount_is_said_or_what_is_mounted() {
        let bpf = |path: &str| Mount { path: path.into(), kind: KIND.into() };
        for (pin_path, mounts, part) in [
            ("/sys/fs/bpf/proxyip", vec![], "proxyip would be: `mount -t bpf bpf /sys/fs/bpf`"),
            ("/tmp/pins", vec![], "below one (`mount -t bpf bpf /sys/fs/bpf` mounts one)"),
            ("/tmp/pins", vec![bpf("/run/bpf")], "below one (one is mounted at /run/bpf)"),
        ] {
            let sentence = sentence(Path::new(pin_path), &mounts);
            assert!(sentence.contains(part), "{sentence}");
        }
        let error = check(Path::new("/proc/pins")).unwrap_err().to_string();
        assert!(error.starts_with("/proc/pins would not be on a BPF"), "{error}");
    }

    #[test]
    fn pins_are_found_at_the_root_and_one_below() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(below(root, |name| name == "maps"), Vec::<PathBuf>::new());
        for directory in ["blue/maps", "green/other", "deep/er/maps"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        assert_eq!(below(root, |name| name == "maps"), [root.join("blue")]);
        std::fs::create_dir(root.join("maps")).unwrap();
        assert_eq!(below(root, |name| name == "maps"), [root.join("blue"), root.to_owned()]);
    }
}
