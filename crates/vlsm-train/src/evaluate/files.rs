//! File names of predictions.

use std::collections::HashMap;
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
    // For each name, the number to try next. Some file systems ignore case.
    let mut taken: HashMap<String, usize> = HashMap::new();
    samples
        .iter()
        .map(|sample| {
            let stem = file_name(&sample.name);
            let key = stem.to_lowercase();
            let Some(mut number) = taken.get(&key).copied() else {
                taken.insert(key, 2);
                return stem + ".png";
            };
            let name = loop {
                let name = format!("{stem}-{number}");
                number += 1;
                if !taken.contains_key(&name.to_lowercase()) {
                    break name;
                }
            };
            taken.insert(key, number);
            taken.insert(name.to_lowercase(), 2);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vlsm_data::{Arrays, Prompts};
    use vlsm_image::{Mask, RgbImage};

    use super::*;

    #[test]
    fn equal_names_get_numbers() {
        let image = RgbImage::from_fn(1, 1, |_, _| [0; 3]);
        let source = Arc::new(Arrays::new("a", image, Mask::from_fn(1, 1, |_, _| 0)));
        let sample = |name: &&str| Sample::new(*name, source.clone(), Prompts::new());
        let names = ["a/b", "a-b", "A-b", "a-b-2", "c", "a:b"];
        let samples: Vec<Sample> = names.iter().map(sample).collect();
        assert_eq!(
            file_names(&samples),
            [
                "a-b.png",
                "a-b-2.png",
                "A-b-3.png",
                "a-b-2-2.png",
                "c.png",
                "a-b-4.png"
            ]
        );
        // In time that is linear in their number.
        let many: Vec<Sample> = (0..200_000).map(|_| sample(&"x")).collect();
        assert_eq!(file_names(&many)[199_999], "x-200000.png");
    }
}
