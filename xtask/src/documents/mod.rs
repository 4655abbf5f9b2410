//! What `cargo xtask lint` checks in the documents: links, the paths that they name, the commands that they show, and
//! their English, and that of comments.

mod commands;
mod comments;
mod links;
mod markdown;
mod paths;
mod prose;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use self::{markdown::Page, prose::Words};
use crate::command::workspace_root;

/// The words that documents must not use.
const WORDS: &str = "docs/words.txt";
/// Generated from test cases as a whole; a test compares it.
const GENERATED: &str = "docs/conformance.md";
/// Its entries are fragments of sentences.
const CHANGELOG: &str = "CHANGELOG.md";
const README: &str = "README.md";
/// Words that a sentence in a document may have.
const LONGEST_SENTENCE: usize = 25;
/// A longer README is not read to its end.
const LONGEST_README: usize = 200;

/// The documents by their paths below the top of the repository.
type Pages = BTreeMap<String, Page>;

/// An error after each fault has been printed as `FILE:LINE: what is wrong`.
pub(crate) fn check() -> Result<()> {
    let root = workspace_root();
    let pages = read(&root)?;
    let words = root.join(WORDS);
    let words = fs::read_to_string(&words).with_context(|| format!("cannot read {WORDS}"))?;
    let words = Words::parse(&words).map_err(|line| anyhow::anyhow!("{WORDS}: {line:?}"))?;
    let mut faults = faults(&root, &pages, &words);
    faults.extend(comments::faults(&root, &words)?);
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} faults in documents and comments", faults.len());
    }
    Ok(())
}

fn faults(root: &Path, pages: &Pages, words: &Words) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, page) in pages {
        let mut found = links::faults(root, path, pages);
        found.extend(paths::faults(root, page));
        found.extend(commands::faults(root, page));
        if path == README {
            found.extend(too_long(page));
        }
        if ![GENERATED, CHANGELOG].contains(&path.as_str()) {
            found.extend(prose::faults(page, words, LONGEST_SENTENCE));
        }
        found.sort();
        faults.extend(found.into_iter().map(|(line, fault)| format!("{path}:{line}: {fault}")));
    }
    faults
}

/// The number of the last line comes from the file itself: fences of code are not among the page's lines.
fn too_long(page: &Page) -> Option<(usize, String)> {
    let last = page.lines.last()?.number;
    (last > LONGEST_README).then(|| (last, format!("more than {LONGEST_README} lines")))
}

/// Those at the top, and all below `docs`.
fn read(root: &Path) -> Result<Pages> {
    let mut pages = Pages::new();
    for entry in fs::read_dir(root)? {
        add(&mut pages, root, &entry?.path())?;
    }
    let mut directories = vec![root.join("docs")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                add(&mut pages, root, &path)?;
            }
        }
    }
    Ok(pages)
}

fn add(pages: &mut Pages, root: &Path, path: &Path) -> Result<()> {
    if path.is_file() && path.extension().is_some_and(|extension| extension == "md") {
        let text = fs::read_to_string(path)?;
        let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
        pages.insert(name, Page::parse(&text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_have_no_fault() {
        check().unwrap();
    }

    #[test]
    fn a_fault_names_its_file_and_line() {
        let words = Words::parse("").unwrap();
        let page = Page::parse("# Page\n\nSee [that](missing.md).\n");
        let pages = Pages::from([("docs/page.md".to_owned(), page)]);
        let found = faults(Path::new("/nonexistent"), &pages, &words);
        assert_eq!(found, ["docs/page.md:3: no file is missing.md"]);
    }

    #[test]
    fn only_a_readme_may_not_be_long() {
        let words = Words::parse("").unwrap();
        let page = |lines: usize| Page::parse(&"line\n\n".repeat(lines / 2));
        let found = |path: &str, lines| {
            let pages = Pages::from([(path.to_owned(), page(lines))]);
            faults(Path::new("/nonexistent"), &pages, &words)
        };
        assert_eq!(found(README, 200), [""; 0]);
        assert_eq!(found("docs/page.md", 202), [""; 0]);
        assert_eq!(found(README, 202), ["README.md:202: more than 200 lines"]);
    }
}
