//! Words and orders of findings.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{DataError, Result};
use crate::facts::Facts;

/// Number of files that a message names.
pub(super) const SHOWN: usize = 3;

/// `1 image is`, `3 images are`.
pub(super) fn are(count: usize, noun: &str, is: &str, are: &str) -> String {
    match count {
        1 => format!("1 {noun} {is}"),
        _ => format!("{count} {noun}s {are}"),
    }
}

/// The first few files.
pub(super) fn few(files: &[&Path]) -> String {
    shown(
        files.iter().map(|path| format!("`{}`", path.display())),
        files.len(),
    )
}

pub(super) fn shown(names: impl Iterator<Item = String>, count: usize) -> String {
    let mut names: Vec<String> = names.take(SHOWN).collect();
    if count > SHOWN {
        names.push("...".to_string());
    }
    names.join(", ")
}

/// Facts by path, so that findings do not depend on the order of a hash table.
pub(super) fn in_order<'f, T>(
    facts: &'f Facts<'_, T>,
) -> impl Iterator<Item = (&'f Path, Result<&'f T, &'f DataError>)> {
    let sorted: BTreeMap<&Path, _> = facts
        .iter()
        .map(|(path, facts)| (*path, facts.as_ref()))
        .collect();
    sorted.into_iter()
}
