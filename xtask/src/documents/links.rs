//! Links between the documents, and to other files of the repository.

use std::path::{Component, Path, PathBuf};

use super::{Pages, markdown::spans};

/// What is wrong, by line.
pub(super) fn faults(root: &Path, path: &str, pages: &Pages) -> Vec<(usize, String)> {
    let page = &pages[path];
    let mut faults = Vec::new();
    for line in page.text() {
        let (_, words) = spans(&line.text);
        // A code span between the brackets takes its part of the link with it, but never the target.
        let outside = words.join("`");
        for target in targets(&outside) {
            if let Err(fault) = check(root, path, target, pages) {
                faults.push((line.number, fault));
            }
        }
    }
    faults
}

/// What is between the parentheses of links and pictures.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

fn check(root: &Path, path: &str, target: &str, pages: &Pages) -> Result<(), String> {
    if target.contains("://") {
        return Ok(());
    }
    let (file, anchor) =
        target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let directory = Path::new(path).parent().unwrap_or(Path::new(""));
    let reached = if file.is_empty() { path.into() } else { normal(&directory.join(file)) };
    let name = reached.to_string_lossy();
    let Some(page) = pages.get(&*name) else {
        let exists = root.join(&reached).exists();
        return match (exists, anchor) {
            (false, _) => Err(format!("no file is {file}")),
            (true, Some(anchor)) => Err(format!("{file} has no headings, so no #{anchor}")),
            (true, None) => Ok(()),
        };
    };
    match anchor.filter(|anchor| !page.anchors().iter().any(|known| known == anchor)) {
        Some(anchor) => Err(format!("no heading of {name} is #{anchor}")),
        None => Ok(()),
    }
}

/// Without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::markdown::Page;

    fn faults_of(text: &str) -> Vec<String> {
        let other = Page::parse("# Other\n\n## A part\n");
        let pages = Pages::from([
            ("docs/page.md".to_owned(), Page::parse(text)),
            ("other.md".to_owned(), other),
        ]);
        let root = crate::command::workspace_root();
        faults(&root, "docs/page.md", &pages).into_iter().map(|(_, fault)| fault).collect()
    }

    #[test]
    fn what_exists_is_found() {
        let text = "# Here\n[a](../other.md#a-part) [b](#here) [`c`](../rooms.toml) <https://x.example/>\n\
                    [d](https://x.example/y#z) `[e](nowhere.md)`\n";
        assert_eq!(faults_of(text), Vec::<String>::new());
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let text = "# Here\n[a](../other.md#b)\n[`b`](nowhere.md)\n[c](../rooms.toml#d) [e](#f)\n";
        assert_eq!(
            faults_of(text),
            [
                "no heading of other.md is #b",
                "no file is nowhere.md",
                "../rooms.toml has no headings, so no #d",
                "no heading of docs/page.md is #f",
            ]
        );
    }
}
