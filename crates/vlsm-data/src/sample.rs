//! A sample: an image, what is to be segmented in it, and the words for that.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;
use vlsm_image::{Mask, RgbImage};

use crate::error::{DataError, Result};
use crate::prompt::{PromptChoice, Prompts};
use crate::source::{Masks, Source};

/// Which part of its masks a sample is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The foreground of the binary mask with this index; a source with one mask has index 0.
    Mask(usize),
    /// The pixels of this class id.
    Class(u8),
    /// All class ids: the labels of the whole image.
    Labels,
}

/// An image, what is to be segmented in it, and the words for that.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Name, unique in its split. For files the mask's stem, after the data set's name and `/` if several are pooled;
    /// `stem.Class` for class-id masks; `-2`, `-3`, ... is added if an annotation file uses one mask several times.
    pub name: String,
    /// Where image and masks come from. Samples of one image share it.
    pub source: Arc<dyn Source>,
    /// Which part of the masks the sample is about.
    pub target: Target,
    /// Scores are reported separately for each group and prompt: a class, or a kind of prompt. May be empty.
    pub group: String,
    /// The prompts, by name.
    pub prompts: Prompts,
    /// For prompt names, which attributes of the prompt were read from the true mask (`shape`, `place`, ...). Names that
    /// are absent use nothing of the mask. `None` if the data set does not say.
    pub oracle: Option<BTreeMap<String, Vec<String>>>,
}

impl Sample {
    /// A sample of a source's first binary mask, without a group. The prompts may be empty if one text is used for all
    /// samples.
    pub fn new(name: impl Into<String>, source: Arc<dyn Source>, prompts: Prompts) -> Self {
        Self {
            name: name.into(),
            source,
            target: Target::Mask(0),
            group: String::new(),
            prompts,
            oracle: None,
        }
    }

    /// The image and the mask of the target, both at their own size; for [`Target::Labels`] the mask of all labelled
    /// pixels. `ignore` is [`Dataset::ignore`](crate::Dataset::ignore).
    ///
    /// # Errors
    /// If a file cannot be read, or the target is not among the masks.
    pub fn read(&self, ignore: Option<u8>) -> Result<(RgbImage, Mask)> {
        let (image, masks) = self.source.image_and_masks()?;
        let mask = match (self.target, masks) {
            (Target::Mask(index), Masks::Binary(masks)) => masks.into_iter().nth(index),
            (Target::Class(class), Masks::Classes(map)) => Some(map.mask_of(class, ignore)),
            (Target::Labels, Masks::Classes(map)) => Some(map.labelled(ignore)),
            _ => None,
        };
        Ok((image, mask.ok_or_else(|| self.no_target())?))
    }

    /// The error for masks that do not have the target.
    pub(crate) fn no_target(&self) -> DataError {
        let wanted = match self.target {
            Target::Mask(index) => format!("no binary mask with index {index}"),
            Target::Class(id) => format!("no class ids, so that class {id} cannot be found"),
            Target::Labels => "no class ids".to_string(),
        };
        let reason = format!(
            "sample `{}` needs its masks, but there is {wanted}",
            self.name
        );
        DataError::source(self.source.mask_id(), reason)
    }

    /// The prompt for training on this sample once: [`PromptChoice::pick`] with the sample's name in the error.
    ///
    /// # Errors
    /// As there.
    pub fn pick_prompt(&self, choice: &PromptChoice, rng: &mut impl Rng) -> Result<String> {
        choice
            .pick(&self.prompts, rng)
            .map_err(|e| e.in_sample(&self.name))
    }

    /// The prompt for evaluating this sample: [`PromptChoice::pick_fixed`] with the sample's name in the error.
    ///
    /// # Errors
    /// As there.
    pub fn fixed_prompt(&self, choice: &PromptChoice) -> Result<String> {
        choice
            .pick_fixed(&self.prompts)
            .map_err(|e| e.in_sample(&self.name))
    }
}
