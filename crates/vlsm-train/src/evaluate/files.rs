//! File names of predictions.

use std::path::Path;

use vlsm_data::{Sample, UniqueNames};

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
    let mut names = UniqueNames::of_files();
    samples
        .iter()
        .map(|sample| names.take(file_name(&sample.name)) + ".png")
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
