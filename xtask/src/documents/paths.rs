//! Files and folders of the repository that documents name.

use std::{fs, path::Path};

use super::markdown::{Page, spans};

/// What is wrong, by line: each code span that begins with a folder of the repository must name what exists.
pub(super) fn faults(root: &Path, page: &Page) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    for line in page.text() {
        let (code, _) = spans(&line.text);
        for span in code.into_iter().filter(|span| names_a_file(root, span)) {
            if !exists(root, span) {
                faults.push((line.number, format!("no file or folder is {span}")));
            }
        }
    }
    faults
}

/// Whether it is one word that begins with a folder at the top which Git keeps. `target` is none of these.
fn names_a_file(root: &Path, span: &str) -> bool {
    let Some((top, _)) = span.split_once('/') else { return false };
    let is_kept = !top.is_empty() && !["target", ".", ".."].contains(&top);
    is_kept && !span.contains(' ') && root.join(top).is_dir()
}

/// `<verb>` and `*` stand for any name; at least one file must fit.
fn exists(root: &Path, span: &str) -> bool {
    let span = span.replace('>', "");
    let Some((before, after)) = span.split_once(['<', '*']) else {
        return root.join(span).exists();
    };
    let suffix = after.trim_start_matches(|letter: char| letter.is_alphanumeric());
    let (directory, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let names = fs::read_dir(root.join(directory)).into_iter().flatten().flatten();
    let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.any(|name| name.starts_with(prefix) && name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_not_exist_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("src/cli")).unwrap();
        fs::write(root.path().join("src/cli/run.rs"), "").unwrap();
        let page = Page::parse(
            "`src/cli/run.rs`, `src/cli/`, `src/cli/<verb>.rs`, `src/cli/*.rs`, `application/json`, `10.0.0.0/16`, `cat src/x`\n\
             `src/gone.rs`\n`src/<verb>.rs`\n`src/*_tests.rs`\n",
        );
        let expected = [
            (2, "no file or folder is src/gone.rs".to_owned()),
            (3, "no file or folder is src/<verb>.rs".to_owned()),
            (4, "no file or folder is src/*_tests.rs".to_owned()),
        ];
        assert_eq!(faults(root.path(), &page), expected);
    }
}
