//! A drawn image and its referents.

use std::collections::BTreeMap;

use vlsm_data::Prompts;
use vlsm_image::{Mask, RgbImage};

/// Something to segment in a drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referent {
    /// Group for which scores are reported separately: a scene's kind of prompt, a phantom's class.
    pub group: String,
    /// Prompts by key.
    pub prompts: Prompts,
    /// The words of each prompt that depend on the mask, as [`Description::oracle`](vlsm_data::Description::oracle). Empty
    /// for scenes, where the prompt determines the mask.
    pub oracle: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Referent {
    /// File stem: that of the drawing, followed by number and group if the drawing has several referents.
    pub(crate) fn name(&self, drawing: &str, number: usize, count: usize) -> String {
        if count == 1 {
            return drawing.to_owned();
        }
        format!("{drawing}.{number}_{}", self.group.replace(' ', "_"))
    }
}

/// A referent and its mask.
#[derive(Clone, Debug)]
pub struct DrawnReferent {
    /// The referent.
    pub referent: Referent,
    /// Its pixels.
    pub mask: Mask,
}

/// A generated image and its referents.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// The image.
    pub image: RgbImage,
    /// The referents; never empty.
    pub referents: Vec<DrawnReferent>,
}
