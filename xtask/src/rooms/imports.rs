//! The paths of its crate that a module names: in `use`, in other paths, and in macros.

use anyhow::{Result, bail};
use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::{
    Attribute, Item, ItemExternCrate, ItemMod, ItemUse, LitStr, Macro, Meta, Path, UseTree,
    Visibility,
    ext::IdentExt as _,
    visit::{self, Visit},
};

/// A path in the crate that a module names.
pub(super) struct Import {
    /// The names from the crate's root on; the last ones may be items in a module.
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// Collects the names in `items`, the items of the module at `path`. Modules directly among them are left out: they are
/// read separately.
///
/// # Errors
/// Names what brings in code or names that cannot be followed.
pub(super) fn imports_of(path: &[String], items: &[Item]) -> Result<Vec<Import>> {
    let inner = items.iter().filter_map(|item| match item {
        Item::Mod(module) => Some(module.ident.to_string()),
        _ => None,
    });
    let inner = inner.collect();
    let mut collector =
        Collector { module: path.to_vec(), inner, imports: Vec::new(), refused: Vec::new() };
    for item in items.iter().filter(|item| !matches!(item, Item::Mod(_))) {
        collector.visit_item(item);
    }
    match collector.refused.first() {
        Some(refused) => bail!("{refused} is not followed: the rooms of imports could not be told"),
        None => Ok(collector.imports),
    }
}

/// Whether there is a `#[cfg(test)]`.
pub(super) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

struct Collector {
    module: Vec<String>,
    /// The names of the modules in this one. Paths may begin with these names.
    inner: Vec<String>,
    imports: Vec<Import>,
    /// What cannot be followed.
    refused: Vec<String>,
}

impl Collector {
    /// Takes a path that begins with `crate`, `super`, `self` or an inner module. Others lead to another crate, or to what a
    /// `use` has brought.
    fn take(&mut self, names: &[Ident]) {
        let Some(first) = names.first() else { return };
        let line = first.span().start().line;
        let mut path = match first.to_string().as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.module.clone(),
            name if self.inner.iter().any(|inner| inner == name) => self.module.clone(),
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

    /// Takes texts that are paths.
    fn take_texts(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.take_texts(group.stream()),
                other => {
                    let text = syn::parse2::<LitStr>(other.into());
                    if let Ok(path) = text.and_then(|text| text.parse::<Path>()) {
                        self.visit_path(&path);
                    }
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    /// A module in a function. Its `super` is the module that the function is in.
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_extern_crate(&mut self, item: &'ast ItemExternCrate) {
        if item.ident == "self" {
            self.refused.push("`extern crate self`".to_owned());
        }
    }

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

    /// Derived traits, and paths in texts such as serde's `with`.
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        self.visit_path(attribute.path());
        if let Meta::List(list) = &attribute.meta {
            self.take_tokens(list.tokens.clone());
            self.take_texts(list.tokens.clone());
        }
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        if invocation.path.segments.last().is_some_and(|last| last.ident == "include") {
            self.refused.push("`include!`".to_owned());
        }
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
