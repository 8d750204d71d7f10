//! A sample: an image, the target to segment in it, and its prompts.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;
use vlsm_image::{Mask, RgbImage};

use crate::error::{DataError, Result};
use crate::prompt::{PromptChoice, Prompts};
use crate::source::{Masks, Source};

/// The part of a source's masks that a sample is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The foreground of the binary mask with this index; a source with one mask has index 0.
    Mask(usize),
    /// The pixels of this class id.
    Class(u8),
    /// All class ids, that is the labels of the whole image.
    Labels,
}

/// An image, the target to segment in it, and its prompts.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Name, unique in its split. For files it is the mask's stem, or `stem.Class` for class-id masks. `-2`, `-3`, ... is
    /// added if an annotation file uses one mask several times. In pooled data sets it starts with `DATA_SET/`.
    pub name: String,
    /// Where image and masks come from. Samples of the same image share it.
    pub source: Arc<dyn Source>,
    /// The part of the masks that the sample is about.
    pub target: Target,
    /// The patient or specimen that the image shows, from `data.group`; by default the source's id. Samples of one subject
    /// are not independent: splits keep them together, and tests count them once.
    pub subject: String,
    /// A class or a kind of prompt. Scores are also reported for each group. May be empty.
    pub group: String,
    /// The prompts, by name.
    pub prompts: Prompts,
    /// For each oracle prompt's name, the attributes that were read from the true mask, such as `shape`. Prompts that are
    /// not listed use nothing of the mask. `None` if the data set does not say.
    pub oracle: Option<BTreeMap<String, Vec<String>>>,
}

impl Sample {
    /// A sample for a source's first binary mask, without a group; the image is its own subject. The prompts may be empty if all samples use the same
    /// text.
    pub fn new(name: impl Into<String>, source: Arc<dyn Source>, prompts: Prompts) -> Self {
        Self {
            name: name.into(),
            subject: source.id().into_owned(),
            source,
            target: Target::Mask(0),
            group: String::new(),
            prompts,
            oracle: None,
        }
    }

    /// The image and the target's mask, both at their original size. For [`Target::Labels`] it is the mask of all
    /// labelled pixels. `ignore` is [`Dataset::ignore`](crate::Dataset::ignore).
    ///
    /// # Errors
    /// If a file cannot be read, or the target is not among the masks.
    pub fn read(&self, ignore: Option<u8>) -> Result<(RgbImage, Mask)> {
        let (image, masks) = self.source.image_and_masks()?;
        Ok((image, self.mask(&masks, ignore)?))
    }

    /// The target's mask among those of the source, as [`read`](Self::read) returns it.
    ///
    /// # Errors
    /// If the target is not among them.
    pub fn mask(&self, masks: &Masks, ignore: Option<u8>) -> Result<Mask> {
        let mask = match (self.target, masks) {
            (Target::Mask(index), Masks::Binary(masks)) => masks.get(index).cloned(),
            (Target::Class(class), Masks::Classes(map)) => Some(map.mask_of(class, ignore)),
            (Target::Labels, Masks::Classes(map)) => Some(map.labelled(ignore)),
            _ => None,
        };
        mask.ok_or_else(|| self.no_target())
    }

    /// The error for masks that lack the target.
    pub(crate) fn no_target(&self) -> DataError {
        let wanted = match self.target {
            Target::Mask(index) => format!("no binary mask with index {index}"),
            Target::Class(id) => format!("no map of class ids to find class {id} in"),
            Target::Labels => "no map of class ids".to_string(),
        };
        let reason = format!("sample `{}` has {wanted}", self.name);
        DataError::source(self.source.mask_id(), reason)
    }

    /// The prompt for training on this sample once: [`PromptChoice::pick`] with the sample's name in the error.
    ///
    /// # Errors
    /// As [`PromptChoice::pick`].
    pub fn pick_prompt(&self, choice: &PromptChoice, rng: &mut impl Rng) -> Result<String> {
        choice
            .pick(&self.prompts, rng)
            .map_err(|e| e.in_sample(&self.name))
    }

    /// The prompt for evaluating this sample: [`PromptChoice::pick_fixed`] with the sample's name in the error.
    ///
    /// # Errors
    /// As [`PromptChoice::pick_fixed`].
    pub fn fixed_prompt(&self, choice: &PromptChoice) -> Result<String> {
        choice
            .pick_fixed(&self.prompts)
            .map_err(|e| e.in_sample(&self.name))
    }
}

/// Splits a pooled sample's name, or its group, into the data set's name and the name within it.
pub fn pool_sample(name: &str) -> Option<(&str, &str)> {
    name.split_once('/')
}
