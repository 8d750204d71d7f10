//! What a run works with: recipe, data and base.

use vlsm_data::{Dataset, Sample, Split};
use vlsm_models::{BaseIdentity, Inference, Preprocessing, Tokenizer};

use crate::evaluate::EvalConfig;
use crate::feature_cache::FeatureCache;
use crate::identity::Identity;
use crate::recipe::Recipe;
use crate::run_folder::RunFolder;

/// What a run works with, without the model.
pub struct Setup<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// The samples.
    pub dataset: &'a Dataset,
    /// The base's vocabulary.
    pub tokenizer: &'a Tokenizer,
    /// How the model's input is made.
    pub preprocessing: &'a Preprocessing,
    /// The base that the trained parameters belong to.
    pub base: &'a BaseIdentity,
    /// How the adapter is meant to be used.
    pub inference: &'a Inference,
    /// What the run's numbers depend on apart from the recipe.
    pub identity: &'a Identity,
    /// Cache of the features of training and validation images, if there is one.
    pub features: Option<&'a FeatureCache>,
    /// Where results go.
    pub folder: &'a RunFolder,
}

impl Setup<'_> {
    /// The samples of a split that the run evaluates.
    pub(crate) fn samples(&self, split: Split) -> &[Sample] {
        self.recipe.data.limited(self.dataset.split(split))
    }

    /// The settings of the run's evaluations, for validation and test alike.
    pub(crate) fn eval_config(&self) -> EvalConfig<'_> {
        EvalConfig::new(
            self.recipe,
            self.dataset,
            self.tokenizer,
            self.preprocessing,
        )
    }
}
