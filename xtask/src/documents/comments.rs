//! The English of comments: those that fill their lines, in all Rust sources.

use std::{fs, path::Path};

use anyhow::Result;

use super::{
    markdown::Page,
    prose::{self, Words},
};

/// Words that a sentence in a comment may have: they explain code to those who read it.
const LONGEST: usize = 25;

/// What is wrong in the sources below a directory, as `FILE:LINE: what is wrong`.
pub(super) fn faults(root: &Path, words: &Words) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(root)?.display();
                let page = page(&fs::read_to_string(&path)?);
                let found = prose::faults(&page, words, LONGEST);
                faults.extend(
                    found.into_iter().map(|(line, fault)| format!("{file}:{line}: {fault}")),
                );
            }
        }
    }
    faults.sort();
    Ok(faults)
}

/// The comments of a source in their lines; the code is left out.
fn page(source: &str) -> Page {
    let comment = |line: &str| {
        let text = line.trim_start().strip_prefix("//")?;
        Some(text.trim_start_matches(['/', '!']).to_owned())
    };
    let lines: Vec<_> = source.lines().map(|line| comment(line).unwrap_or_default()).collect();
    Page::parse(&lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_read_across_lines_and_code_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let source = "//! As far\n//! as that.\nfn as_far() {} // As far as that.\n\n/// As\nfn far_as() {}\n\n/// `as far as`\n";
        fs::create_dir(directory.path().join("target")).unwrap();
        for file in ["a.rs", "target/b.rs", "c.txt"] {
            fs::write(directory.path().join(file), source).unwrap();
        }
        let words = Words::parse("as far as | where\n").unwrap();
        let found = faults(directory.path(), &words).unwrap();
        assert_eq!(found, ["a.rs:1: not \"as far as\", but where"]);
    }
}
