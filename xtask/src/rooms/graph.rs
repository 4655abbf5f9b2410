//! Which module imports which, and which room imports which.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
};

use super::{crate_tree::Module, table::Crate};

/// The imports between the modules of a crate.
pub(super) struct Graph {
    /// All modules, as paths from the crate's root, with their files.
    modules: BTreeMap<Vec<String>, PathBuf>,
    edges: Vec<Edge>,
}

struct Edge {
    from: Vec<String>,
    to: Vec<String>,
    line: usize,
}

impl Graph {
    pub(super) fn new(read: &[Module]) -> Self {
        let modules: BTreeMap<_, _> =
            read.iter().map(|module| (module.path.clone(), module.file.clone())).collect();
        let mut edges = Vec::new();
        for module in read {
            for import in &module.imports {
                let to = nearest(&modules, &import.path);
                if to != module.path {
                    edges.push(Edge { from: module.path.clone(), to, line: import.line });
                }
            }
        }
        Self { modules, edges }
    }

    /// What the table does not allow, and what it names in vain.
    pub(super) fn faults(&self, of: &Crate) -> Vec<String> {
        let mut faults = self.homeless(of);
        faults.extend(self.edges.iter().filter_map(|edge| self.fault(of, edge)));
        faults.extend(self.named_in_vain(of));
        if of.modules_have_no_circle {
            faults.extend(self.circles(of).iter().map(|circle| {
                format!("{}: the modules {} import one another", of.name, circle.join(", "))
            }));
        }
        faults
    }

    fn homeless(&self, of: &Crate) -> Vec<String> {
        self.modules
            .iter()
            .filter(|(path, _)| path.len() == 1 && of.room_of(&path[0]).is_none())
            .map(|(path, file)| {
                format!("{}: `{}` is in no room of the table", file.display(), path[0])
            })
            .collect()
    }

    fn fault(&self, of: &Crate, edge: &Edge) -> Option<String> {
        let from = of.room_of(edge.from.first()?)?;
        let to = match edge.to.first() {
            Some(module) => &of.room_of(module)?.name,
            None => "the crate's root",
        };
        if from.name == to || from.imports.iter().any(|name| name == to) {
            return None;
        }
        let file = self.modules[&edge.from].display();
        let may =
            if from.imports.is_empty() { "nothing".to_owned() } else { from.imports.join(", ") };
        Some(format!("{file}:{}: `{}` imports `{to}`; it may import {may}", edge.line, from.name))
    }

    fn named_in_vain(&self, of: &Crate) -> Vec<String> {
        let made = self.between_rooms(of);
        let mut faults = Vec::new();
        for room in &of.rooms {
            if !self.modules.keys().any(|path| path.first().is_some_and(|name| room.has(name))) {
                faults.push(format!("{}: no module is in the room `{}`", of.name, room.name));
            }
        }
        for room in &of.rooms {
            for import in &room.imports {
                if !made.contains_key(&(room.name.as_str(), import.as_str())) {
                    faults.push(format!(
                        "{}: nothing in `{}` imports `{import}`, as the table says",
                        of.name, room.name
                    ));
                }
            }
        }
        faults
    }

    /// How often each room imports each other one.
    fn between_rooms<'a>(&self, of: &'a Crate) -> BTreeMap<(&'a str, &'a str), usize> {
        let room = |path: &[String]| Some(of.room_of(path.first()?)?.name.as_str());
        let mut made = BTreeMap::new();
        for edge in &self.edges {
            if let (Some(from), Some(to)) = (room(&edge.from), room(&edge.to))
                && from != to
            {
                *made.entry((from, to)).or_default() += 1;
            }
        }
        made
    }

    /// The modules that reach themselves by imports, one list for each circle. A module and its submodules count as
    /// neighbours only through what they import.
    fn circles(&self, of: &Crate) -> Vec<Vec<String>> {
        let is_checked = |path: &Vec<String>| {
            path.first()
                .and_then(|module| of.room_of(module))
                .is_some_and(|room| room.circles.is_none())
        };
        let reached: BTreeMap<_, _> = self
            .modules
            .keys()
            .filter(|path| is_checked(path))
            .map(|path| (path, self.reached_from(path, &is_checked)))
            .collect();
        let mut circles = BTreeSet::new();
        for (path, of_path) in &reached {
            let circle: Vec<_> = of_path
                .iter()
                .filter(|other| reached[*other].contains(*path))
                .map(|path| path.join("::"))
                .collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    fn reached_from(
        &self,
        start: &Vec<String>,
        is_checked: &impl Fn(&Vec<String>) -> bool,
    ) -> BTreeSet<Vec<String>> {
        let mut reached = BTreeSet::new();
        let mut open = vec![start];
        while let Some(module) = open.pop() {
            for edge in self.edges.iter().filter(|edge| edge.from == *module) {
                if is_checked(&edge.to) && reached.insert(edge.to.clone()) {
                    open.push(&edge.to);
                }
            }
        }
        reached
    }

    /// The rooms from top to bottom, with what each imports and how often.
    pub(super) fn picture(&self, of: &Crate) -> String {
        let made = self.between_rooms(of);
        let width = of.rooms.iter().map(|room| room.name.len()).max().unwrap_or_default();
        let mut picture = format!("{}\n", of.name);
        for room in &of.rooms {
            let imports: Vec<_> = of
                .rooms
                .iter()
                .filter_map(|to| Some((to, made.get(&(room.name.as_str(), to.name.as_str()))?)))
                .map(|(to, times)| format!("{} ({times})", to.name))
                .collect();
            let imports = if imports.is_empty() {
                String::new()
            } else {
                format!(" → {}", imports.join(", "))
            };
            // Writing to a string cannot fail.
            let _ = writeln!(picture, "  {:width$}  {}{imports}", room.name, room.does);
        }
        picture
    }
}

/// The innermost module on the way to `path`.
fn nearest(modules: &BTreeMap<Vec<String>, PathBuf>, path: &[String]) -> Vec<String> {
    let mut path = path.to_vec();
    while !path.is_empty() && !modules.contains_key(&path) {
        path.pop();
    }
    path
}
