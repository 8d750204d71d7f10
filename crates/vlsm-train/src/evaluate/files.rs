//! File names of predictions.

use std::collections::HashSet;
use std::path::Path;

use vlsm_data::Sample;

use crate::error::{Result, TrainError};

/// Creates the folder that a predicted mask will be written to.
pub(crate) fn make_parent(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|source| TrainError::Write {
        path: folder.into(),
        source,
    })
}

/// A file name for each sample's predicted mask, with a number where two would be equal.
pub(crate) fn file_names(samples: &[Sample]) -> Vec<String> {
    let mut taken = HashSet::new();
    samples
        .iter()
        .map(|sample| {
            let stem = file_name(&sample.name);
            let mut name = stem.clone();
            let mut number = 1;
            // Some file systems ignore case.
            while !taken.insert(name.to_lowercase()) {
                number += 1;
                name = format!("{stem}-{number}");
            }
            name + ".png"
        })
        .collect()
}

/// A text as a file name: everything but letters, digits, `.`, `_` and `-` becomes `-`.
pub fn file_name(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(80)
        .collect();
    match name.trim_matches(['.', '-']) {
        "" => "empty".into(),
        name => name.into(),
    }
}
