//! `cargo xtask docs`: what documents say of keys, labels, metrics, commands and fields comes from the code.
//!
//! The agent's own lists are asked, by an example of its package that prints them.

mod blocks;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    build_ebpf,
    command::{output, workspace_cargo, workspace_root},
    packets, traffic,
};

/// In which page each block stands.
const PAGES: [(&str, &str); 17] = [
    ("config-keys", "docs/configuration.md"),
    ("reasons", "docs/troubleshooting.md"),
    ("obstacles", "docs/hand-offs.md"),
    ("findings", "docs/troubleshooting.md"),
    ("checks", "docs/troubleshooting.md"),
    ("metrics", "docs/observability.md"),
    ("exit-codes", "docs/cli.md"),
    ("commands", "docs/cli.md"),
    ("flow-log-fields", "docs/flow-log.md"),
    ("packets", "docs/performance.md"),
    ("connections", "docs/performance.md"),
    ("requests", "docs/performance.md"),
    ("bulk", "docs/performance.md"),
    ("flood", "docs/performance.md"),
    ("lists", "docs/performance.md"),
    ("flows", "docs/performance.md"),
    ("rates", "README.md"),
];

/// Options of `cargo xtask docs`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write nothing, and fail if a page is not as it would be written
    #[arg(long)]
    check: bool,
}

impl Options {
    /// Pages are written.
    pub(crate) const WRITE: Self = Self { check: false };
}

pub(crate) fn run(options: &Options) -> Result<()> {
    build_ebpf::run()?;
    if options.check { check() } else { write() }
}

fn write() -> Result<()> {
    let root = workspace_root();
    for (path, text) in generated(&root)? {
        let path = root.join(path);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Fails if a page is not as it would be written. The kernel programs must have been built.
pub(crate) fn check() -> Result<()> {
    let root = workspace_root();
    let stale = stale(&root, &generated(&root)?);
    if !stale.is_empty() {
        bail!("{} not as the code says: run `cargo xtask docs`", stale.join(", "));
    }
    Ok(())
}

fn stale(root: &Path, generated: &BTreeMap<String, String>) -> Vec<String> {
    let differs = |(path, text): &(&String, &String)| {
        fs::read_to_string(root.join(path)).ok().as_ref() != Some(text)
    };
    generated.iter().filter(differs).map(|(path, _)| path.clone()).collect()
}

/// All pages and files as they should be, by path.
fn generated(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut command = workspace_cargo();
    // In the gate the other programs are built with this profile next, from the same dependencies.
    command.args(["run", "--quiet", "--profile", "ci"]);
    command.args(["--package", "proxyip-user", "--example", "reference"]);
    let mut reference: Value = serde_json::from_str(&output(&mut command)?)?;
    reference["blocks"]["packets"] = packets::block(root)?.into();
    for (name, block) in traffic::blocks(root)? {
        reference["blocks"][name] = block.into();
    }
    for (path, picture) in traffic::plots(root)? {
        reference["files"][path] = picture.into();
    }
    pages(root, &reference)
}

fn pages(root: &Path, reference: &Value) -> Result<BTreeMap<String, String>> {
    let entries = |key: &str| {
        let entries = reference[key].as_object().with_context(|| format!("{key} is missing"))?;
        let entry = |(name, text): (&String, &Value)| {
            Ok((name.clone(), text.as_str().context("not a text")?.to_owned()))
        };
        entries.iter().map(entry).collect::<Result<BTreeMap<_, _>>>()
    };
    let mut pages = entries("files")?;
    let mut blocks = entries("blocks")?;
    for (name, path) in PAGES {
        let block = blocks.remove(name).with_context(|| format!("nothing generates {name}"))?;
        let page = match pages.remove(path) {
            Some(page) => page,
            None => fs::read_to_string(root.join(path))
                .with_context(|| format!("cannot read {path}"))?,
        };
        let page = blocks::replace(&page, name, &block).with_context(|| path.to_owned())?;
        pages.insert(path.to_owned(), page);
    }
    if let Some(name) = blocks.keys().next() {
        bail!("no page has the block {name}");
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    /// A checkout. Its pages have their blocks.
    fn checkout() -> (tempfile::TempDir, Value) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("docs")).unwrap();
        let mut reference = json!({"blocks": {}, "files": {"docs/a.json": "{}\n"}});
        for (name, path) in PAGES {
            let path = root.path().join(path);
            let page = fs::read_to_string(&path).unwrap_or_else(|_| "# Title\n".into());
            let block = format!(
                "\n<!-- generated by cargo xtask docs: {name} -->\nold\n<!-- end: {name} -->\n"
            );
            fs::write(path, page + &block).unwrap();
            reference["blocks"][name] = format!("new {name}\n").into();
        }
        (root, reference)
    }

    #[test]
    fn a_page_that_is_behind_is_stale() {
        let (root, reference) = checkout();
        let generated = pages(root.path(), &reference).unwrap();
        let paths: BTreeSet<_> = PAGES.iter().map(|(_, path)| *path).collect();
        assert_eq!(stale(root.path(), &generated).len(), paths.len() + 1);
        for (path, text) in &generated {
            fs::write(root.path().join(path), text).unwrap();
        }
        assert!(stale(root.path(), &pages(root.path(), &reference).unwrap()).is_empty());
        for (name, path) in PAGES {
            let page = root.path().join(path);
            let fresh = fs::read_to_string(&page).unwrap();
            let behind = fresh.replace(&format!("\nnew {name}\n"), "\nmended by hand\n");
            assert_ne!(behind, fresh, "{name}");
            fs::write(&page, behind).unwrap();
            let generated = pages(root.path(), &reference).unwrap();
            assert_eq!(stale(root.path(), &generated), [path], "{name}");
            fs::write(&page, fresh).unwrap();
        }
    }

    #[test]
    fn a_missing_marker_page_or_block_is_an_error() {
        let (root, mut reference) = checkout();
        reference["blocks"]["other"] = "text\n".into();
        let error = format!("{:#}", pages(root.path(), &reference).unwrap_err());
        assert!(error.contains("no page has the block other"), "{error}");
        let (root, mut reference) = checkout();
        reference["blocks"].as_object_mut().unwrap().remove("metrics");
        let error = format!("{:#}", pages(root.path(), &reference).unwrap_err());
        assert!(error.contains("nothing generates metrics"), "{error}");
        let (root, reference) = checkout();
        for (name, path) in PAGES {
            let page = root.path().join(path);
            let whole = fs::read_to_string(&page).unwrap();
            fs::write(&page, whole.replace(&format!("docs: {name} -->"), "-->")).unwrap();
            let error = format!("{:#}", pages(root.path(), &reference).unwrap_err());
            assert!(error.contains(path) && error.contains(name), "{error}");
            fs::write(&page, whole).unwrap();
        }
        fs::remove_file(root.path().join("docs/cli.md")).unwrap();
        assert!(pages(root.path(), &reference).is_err());
    }
}
