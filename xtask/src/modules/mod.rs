//! Finds import cycles between the top-level modules of each crate.
//!
//! An arrow `a -> b` means that module `a` (or a submodule) names an item that is defined in module `b` (or a submodule).
//! Re-exports are followed to the definition; test code is left out. The crate's root file is the module `crate`; its
//! `pub use` lines do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};

mod graph;
mod parse;
mod resolve;

/// Arrows between top-level modules, each with the imports that cause it.
type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

/// Reports modules, arrows and cycles of a crate, or of each crate in a folder of crates.
pub(crate) fn check(folder: &Path) -> Result<bool> {
    let mut roots = roots(folder);
    if roots.is_empty() {
        let crates = std::fs::read_dir(folder)
            .with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in crates {
            roots.extend(self::roots(&entry?.path()));
        }
    }
    roots.sort();
    anyhow::ensure!(!roots.is_empty(), "no crate in {}", folder.display());
    let mut cycles = 0;
    for root in &roots {
        let krate = parse::load(root)?;
        let arrows = resolve::arrows(&krate);
        let name = root.strip_prefix(folder).unwrap_or(root).display();
        let modules = krate.top_level();
        let found = graph::cycles(&arrows);
        let sizes: Vec<String> = found.iter().map(|cycle| cycle.len().to_string()).collect();
        println!(
            "{name}: {} modules, {} arrows, modules in cycles: {}",
            modules.len(),
            arrows.len(),
            if sizes.is_empty() {
                "0".to_owned()
            } else {
                sizes.join(" + ")
            }
        );
        for cycle in &found {
            println!("  cycle: {}", cycle.join(", "));
            for ((from, to), imports) in &arrows {
                if cycle.contains(from) && cycle.contains(to) {
                    let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
                    println!("    {from} -> {to}: {}", imports.join("; "));
                }
            }
        }
        cycles += found.len();
    }
    Ok(cycles == 0)
}

/// Root files of a crate's library and binary.
fn roots(folder: &Path) -> Vec<std::path::PathBuf> {
    let files = ["src/lib.rs", "src/main.rs"].map(|file| folder.join(file));
    files.into_iter().filter(|file| file.is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_found_through_re_exports() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cyclic/src/lib.rs");
        let krate = parse::load(&root).unwrap();
        assert_eq!(
            krate.top_level(),
            ["above", "crate", "first", "ground", "second"]
        );
        let arrows = resolve::arrows(&krate);
        let pairs: Vec<_> = arrows
            .keys()
            .map(|(from, to)| format!("{from} -> {to}"))
            .collect();
        // `second` uses items of `first` through the root's re-export; `above` and the test module do not close a cycle.
        assert_eq!(
            pairs,
            [
                "above -> first",
                "above -> ground",
                "first -> ground",
                "first -> second",
                "second -> first",
            ]
        );
        assert_eq!(graph::cycles(&arrows), [["first", "second"]]);
    }
}
