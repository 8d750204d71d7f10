//! Types in the workspace's sources, by name.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Expr, Field, ImplItem, Item, ItemEnum, ItemStruct, Stmt, Type, Variant};

use crate::files;

/// Structs, enums and defaults, each with its file.
#[derive(Default)]
pub(super) struct Types {
    structs: BTreeMap<String, Vec<(String, ItemStruct)>>,
    enums: BTreeMap<String, Vec<(String, ItemEnum)>>,
    /// Fields and values of `impl Default`.
    defaults: BTreeMap<(String, String), BTreeMap<String, Expr>>,
    /// Kinds and section types of the methods, from the `methods!` table.
    pub(super) methods: Vec<(String, String)>,
}

impl Types {
    /// Reads the sources of all crates.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let files = files::tracked(root, &["rs"])?;
        let sources = files
            .into_iter()
            .filter(|file| file.starts_with("crates/") && file.contains("/src/"));
        let texts: Result<Vec<_>> = sources
            .map(|file| files::read(root, &file).map(|text| (file, text)))
            .collect();
        Self::parse(texts?)
    }

    /// Reads sources, each with its path.
    pub(super) fn parse(sources: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut types = Self::default();
        for (file, text) in sources {
            let parsed = syn::parse_file(&text).with_context(|| file.clone())?;
            for item in parsed.items {
                types.add(item, &file);
            }
        }
        Ok(types)
    }

    fn add(&mut self, item: Item, file: &str) {
        match item {
            // Other types, even with the same name, are not part of a recipe.
            Item::Struct(item) if is_read(&item.attrs) => {
                let found = self.structs.entry(item.ident.to_string()).or_default();
                found.push((file.to_owned(), item));
            }
            Item::Enum(item) => {
                let found = self.enums.entry(item.ident.to_string()).or_default();
                found.push((file.to_owned(), item));
            }
            Item::Impl(item) => {
                let of = item
                    .trait_
                    .as_ref()
                    .and_then(|(_, path, _)| path.get_ident());
                if let (true, Some(name)) =
                    (of.is_some_and(|of| of == "Default"), name(&item.self_ty))
                {
                    let fields = item.items.iter().find_map(default_fields);
                    let key = (file.to_owned(), name);
                    self.defaults.insert(key, fields.unwrap_or_default());
                }
            }
            Item::Macro(item) if item.mac.path.is_ident("methods") => {
                self.methods = table(item.mac.tokens);
            }
            _ => {}
        }
    }

    /// The struct named `name` in file `from`.
    pub(super) fn struct_of(&self, name: &str, from: &str) -> Result<Option<(&str, &ItemStruct)>> {
        one(name, self.structs.get(name), from)
    }

    /// The enum named `name` in file `from`.
    pub(super) fn enum_of(&self, name: &str, from: &str) -> Result<Option<(&str, &ItemEnum)>> {
        one(name, self.enums.get(name), from)
    }

    /// The default value of a field, if its struct has its own `Default`.
    pub(super) fn default_of(&self, file: &str, item: &ItemStruct, field: &str) -> Option<&Expr> {
        let key = (file.to_owned(), item.ident.to_string());
        self.defaults.get(&key)?.get(field)
    }
}

/// Whether a type derives `Serialize`, as all types of a recipe do.
fn is_read(attrs: &[Attribute]) -> bool {
    let derives = attrs.iter().filter(|attr| attr.path().is_ident("derive"));
    derives
        .map(|attr| attr.meta.to_token_stream().to_string())
        .any(|derived| derived.contains("Serialize"))
}

/// Chooses among types of one name: that in the same file, else in the same crate, else the only one.
fn one<'a, T>(
    name: &str,
    found: Option<&'a Vec<(String, T)>>,
    from: &str,
) -> Result<Option<(&'a str, &'a T)>> {
    let Some(found) = found else {
        return Ok(None);
    };
    let krate = |file: &str| file.split('/').take(2).collect::<Vec<_>>().join("/");
    let near: Vec<_> = found.iter().filter(|(file, _)| file == from).collect();
    let same: Vec<_> = found
        .iter()
        .filter(|(file, _)| krate(file) == krate(from))
        .collect();
    let all: Vec<_> = found.iter().collect();
    for candidates in [near, same, all] {
        match candidates.as_slice() {
            [] => {}
            [(file, item)] => return Ok(Some((file, item))),
            _ => bail!("several types are named {name}; rename one of them"),
        }
    }
    Ok(None)
}

/// The last segment of a type's path, without `Option<…>` and `Vec<…>`.
pub(super) fn name(of: &Type) -> Option<String> {
    let Type::Path(path) = of else {
        return None;
    };
    let last = path.path.segments.last()?;
    if let (true, syn::PathArguments::AngleBracketed(arguments)) = (
        last.ident == "Option" || last.ident == "Vec",
        &last.arguments,
    ) {
        return match arguments.args.first()? {
            syn::GenericArgument::Type(of) => name(of),
            _ => None,
        };
    }
    Some(last.ident.to_string())
}

/// Fields of the struct expression that `fn default` returns.
fn default_fields(item: &ImplItem) -> Option<BTreeMap<String, Expr>> {
    let ImplItem::Fn(function) = item else {
        return None;
    };
    let Some(Stmt::Expr(Expr::Struct(value), None)) = function.block.stmts.last() else {
        return None;
    };
    let fields = value.fields.iter().filter_map(|field| match &field.member {
        syn::Member::Named(name) => Some((name.to_string(), field.expr.clone())),
        syn::Member::Unnamed(_) => None,
    });
    Some(fields.collect())
}

/// Lines `"kind" => Name(Config, …)`.
fn table(tokens: TokenStream) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut kind = None;
    for token in tokens {
        match token {
            TokenTree::Literal(literal) => kind = Some(literal.to_string().replace('"', "")),
            TokenTree::Group(group) => {
                if let (Some(kind), Some(TokenTree::Ident(config))) =
                    (kind.take(), group.stream().into_iter().next())
                {
                    found.push((kind, config.to_string()));
                }
            }
            _ => {}
        }
    }
    found
}

/// The doc comment's text, with lines and paragraphs joined.
pub(super) fn doc(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter_map(|attr| match &attr.meta {
        syn::Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(value) => match &value.lit {
                syn::Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The value of an option in `#[serde(…)]`, such as `rename_all`; empty for an option without a value.
fn serde_value(attrs: &[Attribute], wanted: &str) -> Option<String> {
    let mut found = None;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("serde")) {
        // Unknown options end the parsing; they are not wanted.
        let _ = attr.parse_nested_meta(|meta| {
            let value = match meta.value() {
                Ok(value) => match value.parse::<syn::Lit>()? {
                    syn::Lit::Str(text) => text.value(),
                    _ => String::new(),
                },
                Err(_) => String::new(),
            };
            if meta.path.is_ident(wanted) {
                found = Some(value);
            }
            Ok(())
        });
    }
    found
}

/// Whether a field is flattened.
pub(super) fn is_flat(field: &Field) -> bool {
    serde_value(&field.attrs, "flatten").is_some()
}

/// A variant's name in a recipe; `None` for enums that are not given by name.
pub(super) fn variant_name(item: &ItemEnum, variant: &Variant) -> Option<String> {
    if !variant.fields.is_empty() || serde_value(&item.attrs, "untagged").is_some() {
        return None;
    }
    if let Some(name) = serde_value(&variant.attrs, "rename") {
        return Some(name);
    }
    let name = variant.ident.to_string();
    let split = |by: &str| {
        let mut words = String::new();
        for (at, c) in name.char_indices() {
            if at > 0 && c.is_uppercase() {
                words += by;
            }
            words.extend(c.to_lowercase());
        }
        words
    };
    match serde_value(&item.attrs, "rename_all")?.as_str() {
        "lowercase" => Some(name.to_lowercase()),
        "kebab-case" => Some(split("-")),
        "snake_case" => Some(split("_")),
        _ => None,
    }
}
