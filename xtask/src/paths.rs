//! Checks paths in the documentation.

use std::path::Path;

use anyhow::Result;

use crate::files;

/// Folders of the repository; a path in backticks that starts with one of them must exist.
const FOLDERS: [&str; 9] = [
    "crates/",
    "docs/",
    "recipes/",
    "studies/",
    "fixtures/",
    "scripts/",
    "bench/",
    "xtask/",
    ".github/",
];

/// Reports paths in Markdown files that do not exist: link targets, and paths in backticks.
pub(crate) fn check(root: &Path) -> Result<bool> {
    let mut missing = 0;
    for file in files::tracked(root, &["md"])? {
        let folder = Path::new(&file).parent().unwrap_or(Path::new(""));
        let text = files::read(root, &file)?;
        for (number, line) in text.lines().enumerate() {
            let links = links(line)
                .into_iter()
                .map(|path| (root.join(folder).join(path), path));
            let quoted = quoted(line).into_iter().map(|path| (root.join(path), path));
            for (path, written) in links.chain(quoted) {
                if !path.exists() {
                    println!("{file}:{}: {written} does not exist", number + 1);
                    missing += 1;
                }
            }
        }
    }
    Ok(missing == 0)
}

/// Files that the links in a line point to, without fragments.
fn links(line: &str) -> Vec<&str> {
    let targets = line.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split([')', ' ', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .filter(|target| !target.starts_with("mailto:"))
        .collect()
}

/// Repository paths in backticks in a line, except those with a placeholder.
fn quoted(line: &str) -> Vec<&str> {
    let spans = line.split('`').skip(1).step_by(2);
    spans
        .map(|span| span.split("::").next().unwrap_or(span))
        .filter(|span| FOLDERS.iter().any(|folder| span.starts_with(folder)))
        .filter(|span| !span.contains([' ', '*', '{', '<']) && !span.contains("NAME"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_quoted_paths_are_found() {
        let line = "See [a](docs/a.md#b), [c](https://x.org/c) and `crates/d/e.rs`, not `f/g` or `crates/NAME/src`.";
        assert_eq!(links(line), ["docs/a.md"]);
        assert_eq!(quoted(line), ["crates/d/e.rs"]);
    }
}
