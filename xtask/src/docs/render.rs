//! Renders types as Markdown.

use anyhow::{Context, Result};
use quote::ToTokens;
use syn::{Expr, Field, Fields, ItemStruct};

use super::types::{Types, doc, is_flat, name, variant_name};

const HEAD: &str = "\
# Recipes

<!-- Written by `cargo xtask docs` from the doc comments of the types; edit those. -->

A recipe is a TOML file that determines a run. Only `model.base` and `data.root` (or `data.pool`) are required:

```toml
[model]
base = \"CIDAS/clipseg-rd64-refined\"

[method]
kind = \"dense\"

[data]
root = \"PATH/kvasir_polyp\"
```

`vlsm train RECIPE --set section.key=value` overrides a key. An unknown key is an error that names the nearest known one.
`recipe.toml` in a run's folder holds every key with the value that was used.
";

/// The page.
pub(super) fn page(types: &Types) -> Result<String> {
    let (file, recipe) = types
        .struct_of("Recipe", "")?
        .context("no struct `Recipe`")?;
    let mut page = HEAD.to_owned();
    for field in &recipe.fields {
        let section = key(field);
        let of = name(&field.ty).with_context(|| format!("`{section}` is not a section"))?;
        let (file, item) = types
            .struct_of(&of, file)?
            .with_context(|| format!("no struct `{of}`"))?;
        add_section(types, &mut page, &section, file, item)?;
    }
    Ok(page)
}

/// Adds the table of a section, then its sub-sections.
fn add_section(
    types: &Types,
    page: &mut String,
    section: &str,
    file: &str,
    item: &ItemStruct,
) -> Result<()> {
    *page += &format!("\n## `[{section}]`\n");
    if let Some(lead) = lead(item) {
        *page += &format!("\n{lead}\n");
    }
    let mut below = Vec::new();
    let mut rows = rows(types, section, file, item, &mut below)?;
    let methods = section == "method" && !types.methods.is_empty();
    if methods {
        let kinds: Vec<String> = types
            .methods
            .iter()
            .map(|(kind, _)| format!("`\"{kind}\"`"))
            .collect();
        let text = format!(
            "What is trained: {}. The other keys depend on it.",
            kinds.join(", ")
        );
        rows.insert(0, row("kind", "`\"dense\"`", &text));
    }
    add_table(page, &rows);
    if methods {
        for (kind, config) in &types.methods {
            let (file, item) = types
                .struct_of(config, file)?
                .with_context(|| format!("no struct `{config}`"))?;
            *page += &format!("\n### `kind = \"{kind}\"`\n");
            if let Some(lead) = lead(item) {
                *page += &format!("\n{lead}\n");
            }
            let rows = self::rows(types, section, file, item, &mut below)?;
            add_table(page, &rows);
        }
    }
    for (section, file, item) in below {
        add_section(types, page, &section, file, item)?;
    }
    Ok(())
}

fn add_table(page: &mut String, rows: &[String]) {
    if rows.is_empty() {
        return;
    }
    *page += "\n| key | default | meaning |\n|---|---|---|\n";
    for row in rows {
        *page += row;
    }
}

/// Rows of a struct's fields; fields that are sections are added to `below`.
fn rows<'a>(
    types: &'a Types,
    section: &str,
    file: &'a str,
    item: &'a ItemStruct,
    below: &mut Vec<(String, &'a str, &'a ItemStruct)>,
) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    let Fields::Named(fields) = &item.fields else {
        return Ok(rows);
    };
    for field in &fields.named {
        let key = key(field);
        let of = name(&field.ty).unwrap_or_default();
        match types.struct_of(&of, file)? {
            Some((file, item)) if is_flat(field) => {
                rows.extend(self::rows(types, section, file, item, below)?);
            }
            Some((file, item)) => below.push((format!("{section}.{key}"), file, item)),
            // The method's keys are listed by kind.
            None if is_flat(field) => {}
            None => {
                let default = types.default_of(file, item, &key);
                rows.push(field_row(types, file, field, default)?);
            }
        }
    }
    Ok(rows)
}

fn field_row(types: &Types, file: &str, field: &Field, default: Option<&Expr>) -> Result<String> {
    let text = plain(&doc(&field.attrs));
    let (mut text, stated) = match text.rfind("Default") {
        Some(at) if text.ends_with('.') && (at == 0 || text[..at].ends_with(". ")) => {
            let stated = text[at + "Default".len()..].trim_start_matches([':', ' ']);
            let stated = stated.trim_end_matches('.').to_owned();
            (text[..at].trim_end().to_owned(), Some(stated))
        }
        _ => (text, None),
    };
    let of = name(&field.ty).unwrap_or_default();
    if let Some((_, item)) = types.enum_of(&of, file)? {
        let values = item.variants.iter().filter_map(|variant| {
            Some((variant_name(item, variant)?, plain(&doc(&variant.attrs))))
        });
        let values: Vec<(String, String)> = values.collect();
        let named = |(value, _): &(String, String)| {
            text.contains(&format!("`{value}`")) || text.contains(&format!("`\"{value}\"`"))
        };
        if !values.iter().all(named) {
            for (value, meaning) in values {
                text += &format!(" `\"{value}\"`: {}", uncapital(&meaning));
            }
        }
    }
    let default = match (stated, default) {
        (Some(stated), _) => stated,
        (None, Some(Expr::Path(path))) if path.path.is_ident("None") => "not set".to_owned(),
        (None, Some(default)) => {
            let value = value(types, file, default);
            value.map(|value| format!("`{value}`")).unwrap_or_default()
        }
        (None, None) => String::new(),
    };
    Ok(row(&key(field), &default, &text))
}

fn row(key: &str, default: &str, text: &str) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    format!("| `{key}` | {} | {} |\n", cell(default), cell(text))
}

/// A section's introduction: its doc comment without the name, which the heading already has; `None` if nothing remains.
fn lead(item: &ItemStruct) -> Option<String> {
    let text = plain(&doc(&item.attrs));
    let named = ["`[", "Method `"]
        .iter()
        .any(|start| text.starts_with(start));
    let rest = match (named, text.split_once("`: ")) {
        (true, rest) => rest?.1,
        (false, _) => text.as_str(),
    };
    let mut chars = rest.chars();
    let first: String = chars.next()?.to_uppercase().collect();
    let end = if rest.ends_with('.') { "" } else { "." };
    Some(first + chars.as_str() + end)
}

fn key(field: &Field) -> String {
    field
        .ident
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// A doc comment without links: ``[`A`](b)`` and ``[`A`]`` become `A`.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("[`") {
        let Some((linked, after)) = after.split_once("`]") else {
            break;
        };
        let link = after
            .strip_prefix('(')
            .and_then(|after| after.split_once(')'));
        plain += &format!("{before}`{linked}`");
        rest = link.map_or(after, |(_, after)| after);
    }
    plain + rest
}

/// Makes the first letter lower case, except in words with more capitals, such as GELU or AdamW.
fn uncapital(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().collect::<String>() + &text[first.len_utf8()..]
        }
        _ => text.to_owned(),
    }
}

/// A default in TOML; `None` if TOML cannot express it.
fn value(types: &Types, file: &str, expr: &Expr) -> Option<String> {
    match expr {
        Expr::Lit(value) => Some(value.to_token_stream().to_string()),
        Expr::MethodCall(call) => value(types, file, &call.receiver),
        Expr::Unary(_) => Some(expr.to_token_stream().to_string().replace(' ', "")),
        Expr::Array(array) => list(types, file, array.elems.iter()),
        Expr::Macro(call) if call.mac.path.is_ident("vec") => {
            let tokens = &call.mac.tokens;
            let array: syn::ExprArray = syn::parse2(quote::quote!([#tokens])).ok()?;
            list(types, file, array.elems.iter())
        }
        // A variant with a value, such as `Bottleneck::All(64)`; not `Vec::new()`.
        Expr::Call(call) => value(types, file, call.args.first()?),
        Expr::Path(path) => {
            let segments: Vec<String> = path
                .path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect();
            let [.., of, variant] = segments.as_slice() else {
                return None;
            };
            let (_, item) = types.enum_of(of, file).ok()??;
            let variant = item.variants.iter().find(|found| found.ident == variant)?;
            match variant_name(item, variant) {
                Some(name) => Some(format!("\"{name}\"")),
                // Enums parsed from text have lower-case variant names.
                None => Some(format!("\"{}\"", variant.ident.to_string().to_lowercase())),
            }
        }
        _ => None,
    }
}

fn list<'a>(types: &Types, file: &str, values: impl Iterator<Item = &'a Expr>) -> Option<String> {
    let values: Option<Vec<String>> = values.map(|expr| value(types, file, expr)).collect();
    Some(format!("[{}]", values?.join(", ")))
}
