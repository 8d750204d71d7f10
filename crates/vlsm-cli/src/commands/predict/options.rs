//! How a mask is made from probabilities.

use std::str::FromStr;

use anyhow::{Context, Result};
use vlsm::{Prediction, Tiles};
use vlsm_data::Cleanup;
use vlsm_image::{ImageError, Mask};
use vlsm_models::Inference;

/// `--threshold`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Threshold {
    /// A probability above 0.
    Value(f32),
    /// The one with the best Dice on the validation images of the training.
    Auto,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse() {
            Ok(value) if value > 0.0 && value <= 1.0 => Ok(Self::Value(value)),
            _ => Err("give a probability above 0 and up to 1, such as 0.4, or `auto`".to_owned()),
        }
    }
}

/// How masks are made.
#[derive(clap::Args)]
pub(super) struct MaskOptions {
    /// Minimum probability of foreground, compared at the image's own size; `auto` is the value with
    /// the best Dice on the validation images of the training [default: 0.5, compared at the model's
    /// output size, as `vlsm eval` scores].
    #[arg(long, value_name = "P", conflicts_with_all = ["classes", "semantic"])]
    threshold: Option<Threshold>,
    /// Keep only the largest connected part of a mask.
    #[arg(long, conflicts_with_all = ["classes", "semantic"])]
    largest: bool,
    /// Fill the holes of a mask.
    #[arg(long, conflicts_with_all = ["classes", "semantic"])]
    fill_holes: bool,
    /// Remove connected parts of a mask with fewer pixels than this.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true,
          conflicts_with_all = ["classes", "semantic"])]
    min_area: usize,
}

/// How large images are cut.
#[derive(clap::Args)]
pub(super) struct TileOptions {
    /// Cut each image into overlapping tiles of this many pixels a side, which the model sees one by one
    /// at its input size: for images in which an object would otherwise be only a few pixels large.
    #[arg(long, value_name = "N", conflicts_with_all = ["classes", "semantic"])]
    tile: Option<usize>,
    /// Smallest overlap of tiles, in pixels, in which their answers are blended [default: a quarter of
    /// --tile].
    #[arg(long, value_name = "N", requires = "tile")]
    overlap: Option<usize>,
}

impl TileOptions {
    /// The tiles, if any are wanted.
    pub(super) fn tiles(&self) -> vlsm_models::Result<Option<Tiles>> {
        let tiles = self.tile.map(|side| Tiles::new(side, self.overlap));
        tiles.transpose()
    }
}

/// The rule that makes masks.
#[derive(Debug, Clone, Copy)]
pub(super) struct MaskRule {
    pub(super) threshold: Option<f32>,
    cleanup: Cleanup,
}

impl MaskOptions {
    /// The rule, with the threshold of the model if it is `auto`.
    pub(super) fn rule(&self, inference: &Inference) -> Result<MaskRule> {
        let threshold = match self.threshold {
            None => None,
            Some(Threshold::Value(value)) => Some(value),
            Some(Threshold::Auto) => Some(inference.threshold.context(
                "--threshold auto: the model has no threshold of its own, since its training had no validation images; give a \
                 number, such as 0.5",
            )?),
        };
        Ok(MaskRule {
            threshold,
            cleanup: Cleanup {
                fill_holes: self.fill_holes,
                min_area: self.min_area,
                largest: self.largest,
            },
        })
    }
}

impl MaskRule {
    /// The mask of a prediction, and its number of connected parts.
    pub(super) fn apply(&self, prediction: &Prediction) -> Result<(Mask, usize), ImageError> {
        let Mask { width, height, .. } = prediction.mask;
        let mask = match self.threshold {
            None => prediction.mask.clone(),
            Some(threshold) => {
                Mask::from_probabilities(width, height, &prediction.probability, threshold)?
            }
        };
        Ok(self.cleanup.apply(&mask))
    }

    /// The cleanup in words, as it is given on the command line; empty if there is none.
    pub(super) fn cleanup(&self) -> String {
        let Cleanup {
            fill_holes,
            min_area,
            largest,
        } = self.cleanup;
        let min_area_text = format!("min-area {min_area}");
        let words = [
            (fill_holes, "fill-holes"),
            (min_area > 0, min_area_text.as_str()),
            (largest, "largest"),
        ];
        let words = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word);
        words.collect::<Vec<_>>().join(", ")
    }
}
