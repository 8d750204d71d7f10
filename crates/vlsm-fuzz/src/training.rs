//! Files of training: recipes, studies, checkpoints and scores.

use vlsm_train::checkpoint::Checkpoint;
use vlsm_train::{Recipe, Study, read_scores};

use crate::with_files;

/// A recipe; one that is accepted must survive being written and read.
pub fn recipe(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Ok(recipe) = Recipe::parse(text, &[]) else {
        return false;
    };
    if let Ok(text) = recipe.to_toml() {
        let again = Recipe::parse(&text, &[]);
        let again =
            again.unwrap_or_else(|error| panic!("{error} in the recipe as written:\n{text}"));
        assert_eq!(again.to_toml().ok(), Some(text));
    }
    true
}

/// A study.
pub fn study(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let out = "out=\"runs-of-no-study\"".to_owned();
    match Study::parse(text, "study", &[out]) {
        Ok(study) => {
            assert!(study.cells.iter().all(|cell| !cell.label().is_empty()));
            true
        }
        Err(_) => false,
    }
}

/// A checkpoint.
pub fn checkpoint(bytes: &[u8]) -> bool {
    with_files(&[("checkpoint", bytes)], |folder| {
        Checkpoint::read(&folder.join("checkpoint")).is_ok()
    })
}

/// A table of scores.
pub fn scores(bytes: &[u8]) -> bool {
    with_files(&[("scores.csv", bytes)], |folder| {
        read_scores(&folder.join("scores.csv")).is_ok()
    })
}
