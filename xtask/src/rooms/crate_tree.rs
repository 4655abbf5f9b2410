//! The modules of a crate, found as the compiler finds them: from `lib.rs` and `main.rs` on, by `mod`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use proc_macro2::{TokenStream, TokenTree};
use syn::{Item, ItemMod, Meta};

use super::imports::{Import, imports_of, is_for_tests};

/// A module and what it imports from its own crate.
pub(super) struct Module {
    /// The names from the crate's root to here; none is the root itself.
    pub(super) path: Vec<String>,
    /// Where it stands, below the repository's top.
    pub(super) file: PathBuf,
    pub(super) imports: Vec<Import>,
}

/// Reads all modules of the crate in the folder `name`, but those for tests only.
pub(super) fn read(root: &Path, name: &str) -> Result<Vec<Module>> {
    let source = Path::new(name).join("src");
    let mut reader = Reader { root, modules: Vec::new() };
    for file in ["lib.rs", "main.rs"] {
        let file = source.join(file);
        if root.join(&file).exists() {
            reader.read_file(Place { path: Vec::new(), file, folder: source.clone() })?;
        }
    }
    if reader.modules.is_empty() {
        bail!("there is no crate in {name}");
    }
    Ok(reader.modules)
}

struct Reader<'a> {
    root: &'a Path,
    modules: Vec<Module>,
}

/// Where a module stands.
struct Place {
    path: Vec<String>,
    file: PathBuf,
    /// The folder with the files of its submodules.
    folder: PathBuf,
}

impl Reader<'_> {
    fn read_file(&mut self, place: Place) -> Result<()> {
        let name = place.file.display();
        let text = fs::read_to_string(self.root.join(&place.file))
            .with_context(|| format!("cannot read {name}"))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("{name} does not parse"))?;
        self.read_items(place, &parsed.items)
    }

    fn read_items(&mut self, Place { path, file, folder }: Place, items: &[Item]) -> Result<()> {
        for item in items {
            let Item::Mod(module) = item else { continue };
            if is_for_tests(&module.attrs) {
                continue;
            }
            refuse_detours(module)?;
            let name = module.ident.to_string();
            let mut inner = Place {
                path: [path.clone(), vec![name.clone()]].concat(),
                file: file.clone(),
                folder: folder.join(name),
            };
            if let Some((_, items)) = &module.content {
                self.read_items(inner, items)?;
            } else {
                inner.file = self.file_of(module, &folder)?;
                self.read_file(inner)?;
            }
        }
        let imports = imports_of(&path, items).with_context(|| file.display().to_string())?;
        self.modules.push(Module { path, file, imports });
        Ok(())
    }

    fn file_of(&self, module: &ItemMod, folder: &Path) -> Result<PathBuf> {
        let name = module.ident.to_string();
        [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")]
            .into_iter()
            .find(|file| self.root.join(file).exists())
            .with_context(|| format!("no file for the module {name} in {}", folder.display()))
    }
}

/// Fails if a module stands where it does not look, or gives its macros to modules beside it.
fn refuse_detours(module: &ItemMod) -> Result<()> {
    let names = ["path", "macro_use"];
    for attribute in &module.attrs {
        let within = match &attribute.meta {
            Meta::List(list) => list.tokens.clone(),
            Meta::Path(_) | Meta::NameValue(_) => TokenStream::new(),
        };
        let has = |name: &&str| attribute.path().is_ident(name) || has_word(within.clone(), name);
        if let Some(name) = names.into_iter().find(has) {
            bail!("the module {} has a `{name}` attribute, which is not followed", module.ident);
        }
    }
    Ok(())
}

fn has_word(tokens: TokenStream, word: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == word,
        TokenTree::Group(group) => has_word(group.stream(), word),
        _ => false,
    })
}
