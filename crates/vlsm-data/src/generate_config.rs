//! `[data.generate]` of a recipe.

use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};

/// `[data.generate]`: size of a drawn data set, for roots such as `builtin:scenes`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct GenerateConfig {
    /// Seed of the drawing.
    pub seed: u64,
    /// Side of the square images, in pixels, from 64 to 2048.
    pub side: usize,
    /// Number of training images; `builtin:scenes` draws new ones in each epoch.
    pub train: usize,
    /// Number of validation images.
    pub val: usize,
    /// Number of test images.
    pub test: usize,
}

impl Default for GenerateConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            side: 168,
            train: 100,
            val: 20,
            test: 50,
        }
    }
}

/// Most images in a split of a drawn data set. Their prompts are kept in memory.
const MOST_DRAWN: usize = 100_000;

impl GenerateConfig {
    /// Checks the section.
    ///
    /// # Errors
    /// If images would be too small to show an object or too large to draw, or too many.
    pub fn validate(&self) -> Result<()> {
        if !(64..=2048).contains(&self.side) {
            return Err(DataError::Config {
                field: "data.generate.side",
                reason: format!("{} is out of range; use 64 to 2048 pixels", self.side),
            });
        }
        for (field, count) in [
            ("data.generate.train", self.train),
            ("data.generate.val", self.val),
            ("data.generate.test", self.test),
        ] {
            if count > MOST_DRAWN {
                return Err(DataError::Config {
                    field,
                    reason: format!("{count} images are too many; use at most {MOST_DRAWN}"),
                });
            }
        }
        Ok(())
    }
}
