//! Resolves paths to the modules that define the named items.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::parse::Parser;

use super::Arrows;
use super::parse::{Crate, Module, Name, top};

/// What a path of this crate resolves to.
enum Target {
    /// A module.
    Module(Vec<String>),
    /// An item, by the module that defines it.
    Item(Vec<String>),
}

/// The arrows between the top-level modules of a crate.
pub(super) fn arrows(krate: &Crate) -> Arrows {
    let mut arrows = Arrows::new();
    for (path, module) in &krate.modules {
        let mut used: Vec<Vec<String>> = Vec::new();
        let imports = module.imports.iter().filter(|import| !import.reexport);
        used.extend(imports.map(|import| import.path.clone()));
        let mut body = Module::default();
        for tokens in &module.tokens {
            paths(tokens.clone(), &mut body, &mut used);
        }
        used.extend(body.imports.into_iter().map(|import| import.path));
        // For a glob import, the names that are used.
        let words: BTreeSet<String> = module.tokens.iter().cloned().flat_map(words).collect();
        for glob in module.globs.iter().chain(&body.globs) {
            let Some(Target::Module(from)) = krate.resolve(path, glob, &mut Vec::new()) else {
                continue;
            };
            let names = krate.modules.get(&from).map(|module| &module.names);
            let taken = names.into_iter().flatten().map(|(name, _)| name);
            used.extend(
                taken
                    .filter(|name| words.contains(*name))
                    .map(|name| [glob.clone(), vec![name.clone()]].concat()),
            );
        }
        for import in used {
            let Some(Target::Item(defined)) = krate.resolve(path, &import, &mut Vec::new()) else {
                continue;
            };
            let (from, to) = (top(path), top(&defined));
            if from != to {
                let file = module.file.file_name().unwrap_or_default();
                let from_file = match path.last() {
                    Some(_) => format!("{} ({})", import.join("::"), file.display()),
                    None => import.join("::"),
                };
                let key = (from.to_owned(), to.to_owned());
                arrows.entry(key).or_default().insert(from_file);
            }
        }
    }
    arrows
}

impl Crate {
    /// Resolves a path as written in a module; `None` for other crates and local names.
    fn resolve(
        &self,
        module: &[String],
        path: &[String],
        seen: &mut Vec<(Vec<String>, String)>,
    ) -> Option<Target> {
        let mut at = module.to_vec();
        let mut rest = path;
        let mut anchored = false;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => {
                    at.pop();
                }
                _ => break,
            }
            anchored = true;
            rest = after;
        }
        let Some((name, after)) = rest.split_first() else {
            return anchored.then_some(Target::Module(at));
        };
        let here = self.modules.get(&at)?;
        let step = (at.clone(), name.clone());
        if seen.contains(&step) {
            return None;
        }
        seen.push(step);
        let target = match here.names.get(name) {
            Some(Name::Item) => Some(Target::Item(at)),
            Some(Name::Module) => {
                at.push(name.clone());
                Some(Target::Module(at))
            }
            // An import of its own name, such as `use burn;`, is of another crate.
            Some(Name::Import(path)) => self.resolve(&at, path, seen),
            None => here.globs.iter().find_map(|glob| {
                let path = [glob.clone(), vec![name.clone()]].concat();
                self.resolve(&at, &path, seen)
            }),
        };
        match target? {
            Target::Module(at) if !after.is_empty() => {
                let path = [vec!["self".to_owned()], after.to_vec()].concat();
                self.resolve(&at, &path, seen)
            }
            target => Some(target),
        }
    }
}

/// Collects the paths of two or more segments in a piece of code, and the `use` lines in it.
fn paths(tokens: TokenStream, body: &mut Module, found: &mut Vec<Vec<String>>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let colons = |at: usize| {
        let is =
            |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
        is(at) && is(at + 1)
    };
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => paths(group.stream(), body, found),
            TokenTree::Ident(ident) if ident == "use" => {
                let line = tokens[at + 1..].iter().cloned();
                let line = line.take_while(
                    |token| !matches!(token, TokenTree::Punct(p) if p.as_char() == ';'),
                );
                let tokens: TokenStream = line.collect();
                if let Ok(tree) =
                    (|input: syn::parse::ParseStream<'_>| input.parse()).parse2(tokens)
                {
                    body.add_use(&tree, Vec::new(), false);
                }
            }
            TokenTree::Ident(ident) => {
                let continued = at >= 2 && colons(at - 2)
                    || matches!(at.checked_sub(1).map(|at| &tokens[at]), Some(TokenTree::Punct(p)) if p.as_char() == '.');
                let mut path = vec![ident.to_string()];
                while colons(at + 1) {
                    let Some(TokenTree::Ident(next)) = tokens.get(at + 3) else {
                        break;
                    };
                    path.push(next.to_string());
                    at += 3;
                }
                if !continued && path.len() > 1 {
                    found.push(path);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// All words of a piece of code.
fn words(tokens: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => found.push(ident.to_string()),
            TokenTree::Group(group) => found.extend(words(group.stream())),
            _ => {}
        }
    }
    found
}
