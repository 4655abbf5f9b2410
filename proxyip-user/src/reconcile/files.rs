//! Files of networks that are not in force as they are now, and why.

use std::path::{Path, PathBuf};
use std::slice;

/// Files of networks that are not in force as they are now.
#[derive(Debug, Default)]
pub struct NotTaken {
    /// Their paths.
    pub files: Vec<PathBuf>,
    /// Why: sentences that name the files.
    pub why: Vec<String>,
}

/// How it ended that the kernel was given what is in files now.
pub(super) struct Tried {
    /// Those that are wrong. What is in the others was tried.
    pub(super) wrong: NotTaken,
    /// Why the kernel did not take the others.
    pub(super) refused: Option<anyhow::Error>,
}

impl NotTaken {
    pub(super) const fn is_nothing(&self) -> bool {
        self.files.is_empty() && self.why.is_empty()
    }

    /// What to say of it, if it is anything.
    pub(super) fn sentence(&self) -> Option<String> {
        let beginning = "files of networks are not in force as they are now, but as they were";
        (!self.is_nothing()).then(|| format!("{beginning}: {}", self.why.join("; ")))
    }

    fn refuse(&mut self, file: &Path, why: &anyhow::Error) {
        self.why.push(format!("{}: {why:#}", file.display()));
        self.files.push(file.to_owned());
    }

    fn extend(&mut self, other: Self) {
        self.files.extend(other.files);
        self.why.extend(other.why);
    }
}

/// Tries all of these files together. If the kernel refuses those that are right, tries each of them alone: one list
/// may be too long for the maps, and the others must not wait for it.
pub(super) fn all_or_each(
    changed: &[PathBuf],
    try_files: &impl Fn(&[PathBuf]) -> Tried,
) -> NotTaken {
    let Tried { wrong: mut not_taken, refused } = try_files(changed);
    let Some(error) = refused else { return not_taken };
    let right: Vec<_> = changed.iter().filter(|file| !not_taken.files.contains(file)).collect();
    match right[..] {
        // The kernel does not even take again what is in force.
        [] => not_taken.why.push(format!("{error:#}")),
        [file] => not_taken.refuse(file, &error),
        _ => {
            for file in right {
                not_taken.extend(all_or_each(slice::from_ref(file), try_files));
            }
        }
    }
    not_taken
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use anyhow::anyhow;

    use super::*;

    /// A kernel that takes no list named `large`, and a reader that finds `wrong` wrong.
    fn outcome(names: &[&str]) -> (NotTaken, Vec<PathBuf>) {
        let in_force = RefCell::new(Vec::new());
        let try_files = |files: &[PathBuf]| {
            let (wrong, right): (Vec<_>, Vec<_>) =
                files.iter().cloned().partition(|file| file.ends_with("wrong"));
            let why = wrong.iter().map(|file| format!("{}:1: no", file.display())).collect();
            let is_large = right.iter().any(|file| file.ends_with("large"));
            let refused = is_large.then(|| anyhow!("no room"));
            if !is_large {
                in_force.borrow_mut().extend(right);
            }
            Tried { wrong: NotTaken { files: wrong, why }, refused }
        };
        let changed: Vec<_> = names.iter().map(|name| Path::new("/l").join(name)).collect();
        let not_taken = all_or_each(&changed, &try_files);
        (not_taken, in_force.into_inner())
    }

    #[test]
    fn a_list_that_is_too_long_keeps_no_other_one_back() {
        let (not_taken, in_force) = outcome(&["a", "large", "wrong", "z"]);
        assert_eq!(in_force, [Path::new("/l/a"), Path::new("/l/z")]);
        assert_eq!(not_taken.files, [Path::new("/l/wrong"), Path::new("/l/large")]);
        let beginning = "files of networks are not in force as they are now, but as they were";
        let sentence = format!("{beginning}: /l/wrong:1: no; /l/large: no room");
        assert_eq!(not_taken.sentence(), Some(sentence));
    }

    #[test]
    fn a_refusal_names_its_file_and_what_is_wrong() {
        for (names, why) in [
            (&["large"][..], &["/l/large: no room"][..]),
            (&["large", "wrong"], &["/l/wrong:1: no", "/l/large: no room"]),
            (&["a"], &[]),
        ] {
            let (not_taken, _) = outcome(names);
            assert_eq!(not_taken.why, why, "{names:?}");
            assert_eq!(not_taken.sentence().is_none(), why.is_empty(), "{names:?}");
        }
    }
}
