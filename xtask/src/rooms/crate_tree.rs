//! The modules of a crate, found as the compiler finds them: from `lib.rs` and `main.rs` on, by `mod`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use syn::{Item, ItemMod};

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
        let imports = imports_of(&path, items);
        self.modules.push(Module { path, file, imports });
        Ok(())
    }

    fn file_of(&self, module: &ItemMod, folder: &Path) -> Result<PathBuf> {
        if module.attrs.iter().any(|attribute| attribute.path().is_ident("path")) {
            bail!("the module {} has a `path` attribute, which is not followed", module.ident);
        }
        let name = module.ident.to_string();
        [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")]
            .into_iter()
            .find(|file| self.root.join(file).exists())
            .with_context(|| format!("no file for the module {name} in {}", folder.display()))
    }
}
