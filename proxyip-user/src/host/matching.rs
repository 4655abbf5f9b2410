//! The network namespaces whose files match a pattern.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::{FilePattern, Namespaces};

/// The files that match and stand for a namespace, by name. A file that a namespace is not mounted on yet is not among
/// them, and neither is one of a directory that does not exist.
pub(crate) fn files(pattern: &FilePattern) -> Vec<PathBuf> {
    let Some(device) = device_of_namespaces() else { return Vec::new() };
    let mut files: Vec<_> =
        matching(pattern).filter(|path| device_of(path) == Some(device)).collect();
    files.sort();
    files
}

/// Whether a file matches on which no namespace is mounted.
pub(crate) fn is_incomplete(netns: &Namespaces) -> bool {
    let Namespaces::Like(pattern) = netns else { return false };
    let namespaces = device_of_namespaces();
    matching(pattern).any(|path| device_of(&path) != namespaces)
}

/// Why a pattern finds no namespace, if a mount is missing.
pub(crate) fn why_nothing(pattern: &FilePattern) -> Option<String> {
    let directory = pattern.directory.display();
    if !pattern.directory.is_dir() {
        return Some(format!(
            "there is no directory {directory}; in a container, mount the one of the host there"
        ));
    }
    let count = matching(pattern).filter(|path| !stands_for_namespace(path)).count();
    let files = match count {
        0 => return None,
        1 => "1 file matches, but no namespace is mounted on it".to_owned(),
        _ => format!("{count} files match, but no namespace is mounted on them"),
    };
    Some(format!(
        "{files}; in a container, mount {directory} of the host with propagation (mountPropagation: HostToContainer)"
    ))
}

fn matching(pattern: &FilePattern) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(&pattern.directory).into_iter().flatten().flatten();
    let matching = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| pattern.name.matches(name)));
    matching.map(|entry| entry.path())
}

/// Whether a namespace is mounted on the file, or the file is a link to one.
pub(crate) fn stands_for_namespace(path: &Path) -> bool {
    let namespaces = device_of_namespaces();
    namespaces.is_some() && device_of(path) == namespaces
}

/// The device of the kernel's files of namespaces.
fn device_of_namespaces() -> Option<u64> {
    device_of(Path::new("/proc/thread-self/ns/net"))
}

fn device_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|file| file.dev())
}

/// When a file came to the directory or left it.
pub(crate) fn changed(directory: &Path) -> Option<SystemTime> {
    fs::metadata(directory).and_then(|directory| directory.modified()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::Config;
    use crate::config::tests::LEAST;

    #[test]
    fn only_files_of_namespaces_match() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (name, target) in
            [("pod-b", "/proc/self/ns/net"), ("pod-a", "/proc/self/ns/net"), ("pod-c", "/nowhere")]
        {
            symlink(target, at(name)).unwrap();
        }
        // `ip netns add` makes the file, and mounts the namespace a moment later.
        File::create(at("pod-d")).unwrap();
        symlink("/proc/self/ns/net", at("other")).unwrap();
        let netns = at("pod-*");
        let netns = netns.display();
        let config = format!("{LEAST}[[interface]]\nnetns = '{netns}'\n");
        let config = Config::from_toml(&config).unwrap();
        let Namespaces::Like(pattern) = &config.interfaces[0].netns else { panic!("a pattern") };
        assert_eq!(files(pattern), [at("pod-a"), at("pod-b")]);
        let nowhere = FilePattern { directory: "/nowhere".into(), ..pattern.clone() };
        assert_eq!(files(&nowhere), Vec::<PathBuf>::new());
        let why = |pattern: &FilePattern| why_nothing(pattern).unwrap_or_default();
        assert!(why(&nowhere).starts_with("there is no directory /nowhere"), "{}", why(&nowhere));
        // The link to nowhere, and the file that is not mounted on.
        assert!(why(pattern).starts_with("2 files match, but"), "{}", why(pattern));
        let other = FilePattern { name: glob::Pattern::new("oth*").unwrap(), ..pattern.clone() };
        assert_eq!(why_nothing(&other), None);
    }
}
