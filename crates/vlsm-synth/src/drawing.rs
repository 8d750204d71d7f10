//! A drawn image and what can be segmented in it.

use std::collections::BTreeMap;

use vlsm_data::Prompts;
use vlsm_image::{Mask, RgbImage};

/// One thing to segment in a drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referent {
    /// Scores are reported by this: a scene's kind of prompt, a phantom's class.
    pub group: String,
    /// The words for it.
    pub prompts: Prompts,
    /// What of each prompt is read from the mask, as [`Description::oracle`](vlsm_data::Description::oracle). The prompts of
    /// scenes are no oracles: they decide what the mask is.
    pub oracle: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Referent {
    /// Its name, given that of its drawing, in which it is number `number` of `count`: the drawing's where it is alone.
    pub(crate) fn name(&self, drawing: &str, number: usize, count: usize) -> String {
        if count == 1 {
            return drawing.to_owned();
        }
        format!("{drawing}.{number}_{}", self.group.replace(' ', "_"))
    }
}

/// A referent with its pixels.
#[derive(Clone, Debug)]
pub struct DrawnReferent {
    /// What it is.
    pub referent: Referent,
    /// Where it is.
    pub mask: Mask,
}

/// A generated image and all that is to be found in it.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// The image.
    pub image: RgbImage,
    /// What is to be found in it, never nothing.
    pub referents: Vec<DrawnReferent>,
}
