//! Settings of an evaluation.

use std::path::Path;

use vlsm_data::{Dataset, Sample};
use vlsm_models::predict::PromptStates;
use vlsm_models::{Preprocessing, Tokenizer};

use crate::feature_cache::FeatureCache;
use crate::loss::LossConfig;
use crate::recipe::Recipe;

/// Settings of an evaluation, without the model and the samples. Made by [`new`](Self::new).
#[derive(Clone, Copy)]
pub struct EvalConfig<'a> {
    /// The model's vocabulary.
    pub(crate) tokenizer: &'a Tokenizer,
    /// How its input is made.
    pub(crate) preprocessing: &'a Preprocessing,
    /// Weights of the loss's terms.
    pub(crate) loss: LossConfig,
    /// Number of images per pass of the vision tower, and of prompts per pass of the decoder; at least 1.
    pub(crate) batch_size: usize,
    /// Decoding threads.
    pub(crate) workers: usize,
    /// Folder of the data set.
    root: &'a Path,
    /// Class id of pixels that are left out.
    pub(crate) ignore: Option<u8>,
    /// Folder for the predicted masks.
    pub(crate) masks: Option<&'a Path>,
    /// Whether to make pictures of the samples.
    pub(crate) pictures: bool,
    /// Cache of the images' features, if there is one.
    pub(crate) features: Option<&'a FeatureCache>,
    /// Cache of the prompts' text states, if there is one.
    pub(crate) prompt_states: Option<&'a PromptStates>,
}

impl<'a> EvalConfig<'a> {
    /// The settings of a recipe on its data set, for a model with this tokenizer and preprocessing.
    pub fn new(
        recipe: &Recipe,
        dataset: &'a Dataset,
        tokenizer: &'a Tokenizer,
        preprocessing: &'a Preprocessing,
    ) -> Self {
        Self {
            tokenizer,
            preprocessing,
            loss: recipe.loss,
            batch_size: recipe.trainer.eval_batch_size.max(1),
            workers: recipe.data.config.threads(),
            root: &dataset.root,
            ignore: dataset.ignore,
            masks: None,
            pictures: false,
            features: None,
            prompt_states: None,
        }
    }

    /// Writes predicted masks into a folder, if there is one: `SET/SAMPLE.png` at the masks' own size, or the predicted ids
    /// of whole images as `SAMPLE.png`.
    pub fn with_masks(self, folder: Option<&'a Path>) -> Self {
        Self {
            masks: folder,
            ..self
        }
    }

    /// Makes small pictures of every sample for a report. Each image is decoded once more for it.
    pub fn with_pictures(self) -> Self {
        Self {
            pictures: true,
            ..self
        }
    }

    /// A sample's subject, with a path relative to the data set, so that results do not depend on where that is.
    pub(crate) fn subject(&self, sample: &Sample) -> String {
        match Path::new(&sample.subject).strip_prefix(self.root) {
            Ok(path) => path.to_string_lossy().into_owned(),
            Err(_) => sample.subject.clone(),
        }
    }

    /// Uses the caches of a training: features of images and text states of prompts.
    pub(crate) fn with_kept(
        self,
        features: Option<&'a FeatureCache>,
        prompt_states: Option<&'a PromptStates>,
    ) -> Self {
        Self {
            features,
            prompt_states,
            ..self
        }
    }
}
