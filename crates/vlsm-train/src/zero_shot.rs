//! Evaluation of a base without training.

use vlsm_data::{Dataset, Split};
use vlsm_models::{Base, MethodConfig, Model};

use crate::error::Result;
use crate::evaluate::{EvalConfig, PromptSet, SampleScores, evaluate};
use crate::observer::Observer;
use crate::recipe::Recipe;

/// The base as a model, and the metrics of every test sample under every prompt set, the recipe's first.
///
/// # Errors
/// If the test split is empty, a file cannot be read, or the observer stops the evaluation.
pub(crate) fn zero_shot(
    recipe: &Recipe,
    dataset: &Dataset,
    base: &Base,
    observer: &mut dyn Observer,
) -> Result<(Model, Vec<SampleScores>)> {
    let samples = recipe.data.limited(dataset.require(Split::Test)?);
    let sets = PromptSet::every(recipe, samples)?;
    let preprocessing = recipe.model.preprocessing(&base.preprocessing);
    let model = Model::new(base, MethodConfig::zero_shot(), 0)?;
    let config = EvalConfig::new(recipe, dataset, &base.tokenizer, &preprocessing);
    let evaluation = evaluate(&model, samples, &sets, &config, |done| {
        observer.evaluation(Split::Test, done, samples.len())
    })?;
    Ok((model, evaluation.rows))
}
