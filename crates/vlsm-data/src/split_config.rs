//! `[data.split]` of a recipe.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};

/// `[data.split]`: how a `folder` or `classes` data set without `train/`, `val/` and `test/` sub-folders is split.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct SplitConfig {
    /// Fraction of the images for validation.
    pub val: f64,
    /// Fraction of the images for testing.
    pub test: f64,
    /// Seed of the shuffle before the split.
    pub seed: u64,
    /// Number of folds for cross-validation. Fold number `fold` is the test split, and `val` is a fraction of the other
    /// images; `test` is not used. Splits that the data set comes with are merged first. Default: not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
    /// The fold to test on, from 1. A study takes a list, such as `[1, 2, 3, 4, 5]`, and runs each fold. Default: not
    /// set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold: Option<usize>,
    /// Text file with one stem or file name per line, for training, looked up as `data.prompts`. If any of the three lists is
    /// given, fractions are ignored. Default: all images that the other two lists do not name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_list: Option<PathBuf>,
    /// The same for validation. Default: not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_list: Option<PathBuf>,
    /// The same for testing. Default: not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_list: Option<PathBuf>,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self {
            val: 0.1,
            test: 0.1,
            seed: 42,
            folds: None,
            fold: None,
            train_list: None,
            val_list: None,
            test_list: None,
        }
    }
}

impl SplitConfig {
    /// Whether any of the three lists is given.
    pub(crate) fn has_lists(&self) -> bool {
        [&self.train_list, &self.val_list, &self.test_list]
            .into_iter()
            .any(Option::is_some)
    }

    /// Checks the folds.
    pub(crate) fn validate_folds(&self) -> Result<()> {
        let config = |field, reason: String| Err(DataError::Config { field, reason });
        match (self.folds, self.fold) {
            (None, None) => Ok(()),
            (None, Some(_)) => config(
                "data.split.folds",
                "is not set, but `data.split.fold` is; set it to the number of folds".to_string(),
            ),
            (Some(folds), _) if folds < 2 => {
                config("data.split.folds", format!("is {folds}; use at least 2"))
            }
            (Some(_), _) if self.has_lists() => config(
                "data.split.folds",
                "is set along with lists of the splits; remove one of them".to_string(),
            ),
            (Some(folds), None) => config(
                "data.split.fold",
                format!(
                    "is not set, but `data.split.folds` is; set it to a fold from 1 to {folds}"
                ),
            ),
            (Some(folds), Some(fold)) if !(1..=folds).contains(&fold) => config(
                "data.split.fold",
                format!("is {fold}; use a fold from 1 to {folds}"),
            ),
            _ => Ok(()),
        }
    }
}
