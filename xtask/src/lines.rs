//! Checks the length of source files.

use std::path::Path;

use anyhow::Result;

use crate::files;

/// Most lines of a file; longer ones usually have more than one concept.
const MOST: usize = 400;

/// Number of lines at the start of a file in which the reason for its length is accepted.
const HEAD: usize = 5;

/// Reports Rust files above [`MOST`] lines without a comment `Long because: REASON` in the first [`HEAD`] lines.
pub(crate) fn check(root: &Path) -> Result<bool> {
    let mut long = 0;
    for file in files::tracked(root, &["rs"])? {
        let text = files::read(root, &file)?;
        let lines = text.lines().count();
        let excused = text
            .lines()
            .take(HEAD)
            .any(|line| line.contains("Long because: "));
        if lines > MOST && !excused {
            println!("{file}: {lines} lines");
            long += 1;
        }
    }
    if long > 0 {
        println!(
            "{long} files have more than {MOST} lines; split them by concept, or add \
             `// Long because: REASON` to the first {HEAD} lines"
        );
    }
    Ok(long == 0)
}
