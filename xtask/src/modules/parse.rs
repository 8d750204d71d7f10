//! Parses a crate's modules and the names in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Attribute, Item, UseTree, Visibility};

/// What a name in a module refers to.
#[derive(Debug, Clone)]
pub(super) enum Name {
    /// An item that is defined here.
    Item,
    /// A module below this one.
    Module,
    /// An alias of this path.
    Import(Vec<String>),
}

/// One line of a `use`: the path, and whether the root only re-exports it.
pub(super) struct Import {
    pub(super) path: Vec<String>,
    pub(super) reexport: bool,
}

/// A module without its test code.
#[derive(Default)]
pub(super) struct Module {
    /// File, for messages.
    pub(super) file: PathBuf,
    pub(super) names: BTreeMap<String, Name>,
    pub(super) imports: Vec<Import>,
    /// Paths before `::*`.
    pub(super) globs: Vec<Vec<String>>,
    /// Everything except `use` and `mod` lines.
    pub(super) tokens: Vec<TokenStream>,
}

/// A crate's modules by path; the root's path is empty.
#[derive(Default)]
pub(super) struct Crate {
    pub(super) modules: BTreeMap<Vec<String>, Module>,
}

impl Crate {
    /// The names of the top-level modules; the root is `crate`.
    pub(super) fn top_level(&self) -> Vec<&str> {
        let names: BTreeSet<&str> = self.modules.keys().map(|path| top(path)).collect();
        names.into_iter().collect()
    }
}

/// The top-level module that a module belongs to.
pub(super) fn top(path: &[String]) -> &str {
    path.first().map_or("crate", String::as_str)
}

/// Reads a crate from its root file.
pub(super) fn load(root: &Path) -> Result<Crate> {
    let mut krate = Crate::default();
    let folder = root.parent().context("a root file without a folder")?;
    krate.add_file(root, folder, Vec::new())?;
    Ok(krate)
}

impl Crate {
    /// `folder` is where the files of modules below this one are.
    fn add_file(&mut self, file: &Path, folder: &Path, path: Vec<String>) -> Result<()> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let parsed = syn::parse_file(&text).with_context(|| file.display().to_string())?;
        self.add(parsed.items, file, folder, path)
    }

    fn add(
        &mut self,
        items: Vec<Item>,
        file: &Path,
        folder: &Path,
        path: Vec<String>,
    ) -> Result<()> {
        let mut module = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        for item in items {
            match item {
                Item::Mod(item) if !is_test(&item.attrs) => {
                    let name = item.ident.to_string();
                    module.names.insert(name.clone(), Name::Module);
                    let below = [path.clone(), vec![name.clone()]].concat();
                    match item.content {
                        Some((_, items)) => self.add(items, file, &folder.join(&name), below)?,
                        None => {
                            let (file, folder) = locate(file, folder, &name, &item.attrs)?;
                            self.add_file(&file, &folder, below)?;
                        }
                    }
                }
                Item::Use(item) if !is_test(&item.attrs) => {
                    let public = !matches!(item.vis, Visibility::Inherited);
                    module.add_use(&item.tree, Vec::new(), public && path.is_empty());
                }
                Item::Mod(_) | Item::Use(_) => {}
                item => module.add_item(&item),
            }
        }
        self.modules.insert(path, module);
        Ok(())
    }
}

impl Module {
    fn add_item(&mut self, item: &Item) {
        let (attrs, name) = match item {
            Item::Const(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            Item::Static(item) => (&item.attrs, Some(&item.ident)),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Union(item) => (&item.attrs, Some(&item.ident)),
            Item::Impl(item) => (&item.attrs, None),
            _ => return,
        };
        if is_test(attrs) {
            return;
        }
        if let Some(name) = name {
            self.names.entry(name.to_string()).or_insert(Name::Item);
        }
        self.tokens.push(item.to_token_stream());
    }

    pub(super) fn add_use(&mut self, tree: &UseTree, mut path: Vec<String>, reexport: bool) {
        match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                self.add_use(&tree.tree, path, reexport);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(tree, path.clone(), reexport);
                }
            }
            UseTree::Glob(_) => self.globs.push(path),
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                // `use a::{self}` imports `a`.
                if name != "self" {
                    path.push(name);
                }
                if let Some(name) = path.last().cloned() {
                    self.import(name, path, reexport);
                }
            }
            UseTree::Rename(tree) => {
                if tree.ident != "self" {
                    path.push(tree.ident.to_string());
                }
                self.import(tree.rename.to_string(), path, reexport);
            }
        }
    }

    fn import(&mut self, name: String, path: Vec<String>, reexport: bool) {
        // The import may go through a module or macro of the same name.
        self.names.entry(name).or_insert(Name::Import(path.clone()));
        self.imports.push(Import { path, reexport });
    }
}

/// The file of `mod name;`, and the folder of the modules below it.
fn locate(
    parent: &Path,
    folder: &Path,
    name: &str,
    attrs: &[Attribute],
) -> Result<(PathBuf, PathBuf)> {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("path")) {
        if let syn::Meta::NameValue(meta) = &attr.meta
            && let syn::Expr::Lit(value) = &meta.value
            && let syn::Lit::Str(value) = &value.lit
        {
            let folder = parent.parent().context("a module file without a folder")?;
            let file = folder.join(value.value());
            let below = file.parent().unwrap_or(folder).to_owned();
            return Ok((file, below));
        }
    }
    let below = folder.join(name);
    let files = [folder.join(format!("{name}.rs")), below.join("mod.rs")];
    match files.into_iter().find(|file| file.is_file()) {
        Some(file) => Ok((file, below)),
        None => bail!("{}: no file for `mod {name};`", parent.display()),
    }
}

/// Whether an item is compiled for tests only.
fn is_test(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        let condition = attr.meta.to_token_stream().to_string();
        attr.path().is_ident("test")
            || attr.path().is_ident("cfg")
                && condition.contains("test")
                && !condition.contains("not (test)")
    })
}
