//! The paths of its crate that a module names: in `use`, in other paths, and in macros.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::{
    Attribute, Item, ItemMod, ItemUse, Macro, Path, UseTree, Visibility,
    ext::IdentExt as _,
    visit::{self, Visit},
};

/// A path in the crate that a module names.
pub(super) struct Import {
    /// The names from the crate's root on; the last ones may be items in a module.
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// Collects the names in `items`, the items of the module at `path`. Inner modules are left out: they are read
/// separately.
pub(super) fn imports_of(path: &[String], items: &[Item]) -> Vec<Import> {
    let inner = items.iter().filter_map(|item| match item {
        Item::Mod(module) => Some(module.ident.to_string()),
        _ => None,
    });
    let mut collector = Collector { module: path, inner: inner.collect(), imports: Vec::new() };
    for item in items {
        collector.visit_item(item);
    }
    collector.imports
}

/// Whether there is a `#[cfg(test)]`.
pub(super) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

struct Collector<'a> {
    module: &'a [String],
    /// The names of the modules in this one. Paths may begin with these names.
    inner: Vec<String>,
    imports: Vec<Import>,
}

impl Collector<'_> {
    /// Takes a path that begins with `crate`, `super`, `self` or an inner module. Others lead to another crate, or to what a
    /// `use` has brought.
    fn take(&mut self, names: &[Ident]) {
        let Some(first) = names.first() else { return };
        let line = first.span().start().line;
        let mut path = match first.to_string().as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.module.to_vec(),
            name if self.inner.iter().any(|inner| inner == name) => self.module.to_vec(),
            _ => return,
        };
        for name in names {
            match name.to_string().as_str() {
                "crate" | "self" => {}
                "super" => drop(path.pop()),
                _ => path.push(name.unraw().to_string()),
            }
        }
        self.imports.push(Import { path, line });
    }

    fn take_tree(&mut self, before: &[Ident], tree: &UseTree) {
        let with = |name: &Ident| [before, std::slice::from_ref(name)].concat();
        match tree {
            UseTree::Path(path) => self.take_tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) => self.take(&with(&name.ident)),
            UseTree::Rename(rename) => self.take(&with(&rename.ident)),
            UseTree::Glob(_) => self.take(before),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.take_tree(before, tree);
                }
            }
        }
    }

    /// Takes paths among the tokens of a macro: these are not parsed.
    fn take_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<Ident> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                    colons += 1;
                }
                TokenTree::Ident(ident) if colons == 2 => {
                    path.push(ident);
                    colons = 0;
                }
                other => {
                    self.take(&std::mem::take(&mut path));
                    colons = 0;
                    match other {
                        TokenTree::Ident(ident) => path.push(ident),
                        TokenTree::Group(group) => self.take_tokens(group.stream()),
                        _ => {}
                    }
                }
            }
        }
        self.take(&path);
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, _: &'ast ItemMod) {}

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.take_tree(&[], &item.tree);
    }

    /// `pub(crate)` names the crate and imports nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none() {
            let names: Vec<Ident> = path.segments.iter().map(|part| part.ident.clone()).collect();
            self.take(&names);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        self.visit_path(&invocation.path);
        self.take_tokens(invocation.tokens.clone());
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
