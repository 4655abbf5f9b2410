//! `cargo xtask rooms`: what each room of a crate may import, and what it does import.
//!
//! `rooms.toml` at the top of the repository names the rooms of a crate from top to bottom. A room imports only rooms
//! below it, and only those that its line names. `cargo xtask lint` runs the same check without the picture.

mod crate_tree;
mod graph;
mod imports;
mod table;

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use self::{
    graph::Graph,
    table::{Crate, Table},
};
use crate::command::workspace_root;

const TABLE: &str = "rooms.toml";

/// Prints the rooms of each crate with the imports between them, then checks them.
pub(crate) fn run() -> Result<()> {
    for (of, graph) in graphs(&workspace_root())? {
        println!("{}", graph.picture(&of));
    }
    check()
}

/// An error that names each import that `rooms.toml` does not allow.
pub(crate) fn check() -> Result<()> {
    let faults = faults(&workspace_root())?;
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} faults; {TABLE} says what each room may import", faults.len());
    }
    Ok(())
}

fn faults(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for (of, graph) in graphs(root)? {
        faults.extend(of.faults());
        faults.extend(graph.faults(&of));
    }
    Ok(faults)
}

fn graphs(root: &Path) -> Result<Vec<(Crate, Graph)>> {
    let text =
        fs::read_to_string(root.join(TABLE)).with_context(|| format!("cannot read {TABLE}"))?;
    let table: Table =
        toml::from_str(&text).with_context(|| format!("{TABLE} is not as expected"))?;
    let mut seen = BTreeSet::new();
    let mut graphs = Vec::new();
    for of in table.crates {
        if !seen.insert(of.name.clone()) {
            bail!("{TABLE} has the crate {} twice", of.name);
        }
        let modules = crate_tree::read(root, &of.name)?;
        graphs.push((of, Graph::new(&modules)));
    }
    Ok(graphs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: [(&str, &str); 6] = [
        ("Cargo.toml", ""),
        ("c/src/lib.rs", "mod top; mod low { pub mod a; pub mod b; }"),
        ("c/src/top.rs", "use crate::low::a::A; #[cfg(test)] mod tests { use crate::missing; }"),
        ("c/src/low/a.rs", "use super::b::B; pub struct A;"),
        ("c/src/low/b.rs", "pub struct B;"),
        ("c/src/unused.rs", "use crate::top::Nowhere;"),
    ];

    /// The faults of a small crate with the files of `TREE`. `replaced` replaces some of the files.
    fn faults_with(table: &str, replaced: &[(&str, &str)]) -> Vec<String> {
        try_faults_with(table, replaced).unwrap()
    }

    fn try_faults_with(table: &str, replaced: &[(&str, &str)]) -> Result<Vec<String>> {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in TREE.iter().chain(replaced).chain(&[(TABLE, table)]) {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        faults(directory.path())
    }

    const ROOMS: &str = "[[crate]]\nname = \"c\"\nmodules_have_no_circle = true\n\
        [[crate.room]]\nname = \"top\"\ndoes = \"all\"\nimports = [\"low\"]\n\
        [[crate.room]]\nname = \"low\"\ndoes = \"little\"\n";

    #[test]
    fn imports_downwards_are_right() {
        assert_eq!(faults_with(ROOMS, &[]), [""; 0]);
    }

    #[test]
    fn an_import_upwards_is_named_with_its_line() {
        let up = ("c/src/low/b.rs", "pub struct B;\npub fn f() { crate::top::g() }");
        let faults = faults_with(ROOMS, &[up]);
        assert_eq!(faults[0], "c/src/low/b.rs:2: `low` imports `top`; it may import nothing");
    }

    #[test]
    fn an_import_in_a_macro_is_seen() {
        let up = ("c/src/low/b.rs", "pub struct B;\nfn f() { assert!(crate::top::g()) }");
        assert_eq!(faults_with(ROOMS, &[up]).len(), 2, "the room and the circle of modules");
    }

    #[test]
    fn an_import_in_an_unusual_place_is_seen() {
        for text in [
            "fn f() { mod deep { use crate::top::g; } }",
            "fn f() { mod deep { use super::super::super::top::g; } }",
            "#[derive(crate::top::G)] struct A;",
            "struct A { #[serde(with = \"crate::top::g\")] b: u8 }",
        ] {
            let text = format!("pub struct B;\n{text}");
            let faults = faults_with(ROOMS, &[("c/src/low/b.rs", &text)]);
            assert!(
                faults[0].starts_with("c/src/low/b.rs:2: `low` imports `top`"),
                "{text} {faults:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        for text in [
            "include!(\"x.rs\");",
            "extern crate self as me;",
            "#[path = \"x.rs\"] mod x;",
            "#[cfg_attr(all(), path = \"x.rs\")] mod x;",
            "#[macro_use] mod x {}",
        ] {
            let error = try_faults_with(ROOMS, &[("c/src/low/b.rs", text)]).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains("is not followed"), "{text} {error}");
        }
    }

    #[test]
    fn a_circle_between_modules_is_named() {
        let back = ("c/src/low/b.rs", "use crate::low::a; pub struct B;");
        assert_eq!(
            faults_with(ROOMS, &[back]),
            ["c: the modules low::a, low::b import one another"]
        );
    }

    #[test]
    fn a_module_without_a_room_is_a_fault() {
        let more = ("c/src/lib.rs", "mod top; mod low { pub mod a; pub mod b; } mod unused;");
        let faults = faults_with(ROOMS, &[more]);
        assert!(faults[0].contains("`unused` is in no room"), "{faults:?}");
    }

    #[test]
    fn a_room_that_nothing_is_in_and_an_import_that_nobody_makes_are_faults() {
        let table = format!("{ROOMS}[[crate.room]]\nname = \"cellar\"\ndoes = \"nothing\"\n")
            .replace("does = \"little\"", "does = \"little\"\nimports = [\"cellar\"]");
        let faults = faults_with(&table, &[]);
        assert_eq!(
            faults,
            [
                "c: no module is in the room `cellar`",
                "c: nothing in `low` imports `cellar`, as the table says"
            ]
        );
    }

    #[test]
    fn a_table_that_allows_an_import_upwards_is_wrong_itself() {
        let table = ROOMS.replace("does = \"little\"", "does = \"little\"\nimports = [\"top\"]");
        let faults = faults_with(&table, &[]);
        assert_eq!(faults[0], "c: `low` may import `top`, which does not stand below it");
    }
}
