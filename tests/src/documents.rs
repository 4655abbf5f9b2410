//! The code blocks of the documents.

use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The document's path below the top of the repository.
    pub page: String,
    /// The nearest heading above it, without its marks.
    pub section: String,
    /// What stands behind the opening fence.
    pub language: String,
    /// Its lines, each with a line feed.
    pub text: String,
}

/// The top of the repository that the tests were built from.
#[must_use]
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests are below the top").to_owned()
}

/// The blocks of all documents: those at the top of the repository and those below `docs`, by their paths.
///
/// # Panics
/// When the repository cannot be read.
#[must_use]
pub fn blocks_of_all() -> Vec<Block> {
    let top = repository();
    let mut pages = Vec::new();
    let mut directories = vec![top.clone(), top.join("docs")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("the documents can be listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && directory != top {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    let blocks = pages.iter().flat_map(|path| {
        let text = fs::read_to_string(path).expect("a document can be read");
        let name = path.strip_prefix(&top).expect("a path below the top");
        blocks(&name.to_string_lossy(), &text)
    });
    blocks.collect()
}

/// The blocks of one document.
#[must_use]
pub fn blocks(page: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut section = String::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.text.extend([line, "\n"]),
            (None, Some(language)) => {
                let (page, language) = (page.to_owned(), language.to_owned());
                let section = section.clone();
                open = Some(Block { page, section, language, text: String::new() });
            }
            (None, None) if line.starts_with('#') => {
                line.trim_start_matches('#').trim().clone_into(&mut section);
            }
            (None, None) => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Links whose text is a function's name, in code marks, and whose target is a source file.
    #[test]
    fn tests_that_the_field_cases_name_are_there() {
        let directory = repository().join("docs/architecture");
        let page = fs::read_to_string(directory.join("field-cases.md")).expect("the page");
        let named = page.split("[`").skip(1).map(|link| {
            let (name, rest) = link.split_once("`](").expect("a link");
            (name, rest.split_once(')').expect("its end").0)
        });
        let named: Vec<_> = named.collect();
        for (name, file) in &named {
            let text = fs::read_to_string(directory.join(file));
            let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(text.contains(&format!("fn {name}(")), "{file} has no {name}");
        }
        let cases = page.lines().filter(|line| line.starts_with("| ")).skip(1);
        for case in cases {
            assert!(case.contains("[`"), "no test: {case}");
        }
        assert!(named.len() >= 22, "{} tests are named", named.len());
    }

    #[test]
    fn blocks_have_the_heading_above_them() {
        let text = "# A\n```sh\n# no heading\n```\n## B\ntext\n```toml\na = 1\n\nb = 2\n```\n";
        let found = blocks("page.md", text);
        let parts: Vec<_> =
            found.iter().map(|block| (&*block.section, &*block.language, &*block.text)).collect();
        assert_eq!(parts, [("A", "sh", "# no heading\n"), ("B", "toml", "a = 1\n\nb = 2\n")]);
    }

    #[test]
    fn the_repository_has_documents() {
        let blocks = blocks_of_all();
        for page in ["README.md", "docs/firewalls.md", "docs/architecture/accept.md"] {
            assert!(blocks.iter().any(|block| block.page == page), "{page}");
        }
    }
}
