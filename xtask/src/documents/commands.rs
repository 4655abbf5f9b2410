//! Commands of cargo that documents show. The end-to-end tests run the others.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Parser as _;

use super::markdown::{Page, Place};
use crate::Arguments;

/// What is wrong, by line.
pub(super) fn faults(root: &Path, page: &Page) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    for line in page.lines.iter().filter(|line| line.place == Place::Code("sh".to_owned())) {
        for command in line.text.split("&&") {
            let words: Vec<_> = command
                .split_whitespace()
                .take_while(|word| !word.starts_with(['#', '>']))
                .collect();
            if let Err(fault) = check(root, &words) {
                faults.push((line.number, fault));
            }
        }
    }
    faults
}

fn check(root: &Path, words: &[&str]) -> Result<(), String> {
    match words {
        ["cargo", "xtask", rest @ ..] => {
            let words = ["cargo xtask"].iter().chain(rest);
            let refused = Arguments::try_parse_from(words).err();
            let reason = |error: clap::Error| {
                error.to_string().lines().next().unwrap_or_default().to_owned()
            };
            refused.map_or(Ok(()), |error| Err(format!("{}: {}", rest.join(" "), reason(error))))
        }
        ["cargo", _, rest @ ..] => {
            let named = value(rest, &["-p", "--package"]);
            let package = named.and_then(|name| folder_of(root, name));
            if let Some(name) = named.filter(|_| package.is_none()) {
                return Err(format!("no package is named {name}"));
            }
            let test = package.zip(value(rest, &["--test"]));
            let exists = test.is_none_or(|(package, test)| {
                let tests = package.join("tests");
                tests.join(format!("{test}.rs")).exists()
                    || tests.join(test).join("main.rs").exists()
            });
            if exists { Ok(()) } else { Err("the package has no test of this name".to_owned()) }
        }
        _ => Ok(()),
    }
}

/// The folder of a package of the workspace.
fn folder_of(root: &Path, package: &str) -> Option<PathBuf> {
    let line = format!("name = {package:?}");
    let mut folders = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_named = |folder: &PathBuf| {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|known| known == line)
    };
    folders.find(is_named)
}

/// The word behind an option.
fn value<'a>(words: &[&'a str], names: &[&str]) -> Option<&'a str> {
    let place = words.iter().position(|word| names.contains(word))?;
    words.get(place + 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::workspace_root;

    fn faults_of(commands: &str) -> Vec<usize> {
        let page = Page::parse(&format!("```sh\n{commands}\n```\n"));
        faults(&workspace_root(), &page).into_iter().map(|(line, _)| line - 1).collect()
    }

    #[test]
    fn a_verb_or_package_that_does_not_exist_is_found() {
        let commands = "cargo xtask demo    # as root\ncargo xtask dmo\n\
                        cargo xtask lint && cargo build -p proxyip-usr\n\
                        cargo test -p proxyip-tests --test packets\ncargo test -p proxyip-tests --test frames\n\
                        cargo xtask conformance > docs/conformance.md\ncargo test\nls";
        assert_eq!(faults_of(commands), [2, 3, 5]);
    }
}
