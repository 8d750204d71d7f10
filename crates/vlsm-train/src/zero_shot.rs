//! What a base does as it is.

use vlsm_data::{Dataset, Split};
use vlsm_models::{Base, MethodConfig, Model};

use crate::error::Result;
use crate::evaluate::{EvalConfig, PromptSet, Row, evaluate};
use crate::recipe::Recipe;
use crate::trainer::limited;

/// The base as a model, and the metrics of every test sample under every prompt set, the recipe's first.
///
/// # Errors
/// If the test split is empty or a file cannot be read.
pub(crate) fn zero_shot(
    recipe: &Recipe,
    dataset: &Dataset,
    base: &Base,
) -> Result<(Model, Vec<Row>)> {
    let samples = limited(dataset.require(Split::Test)?, recipe.data.eval_limit);
    let sets = PromptSet::every(&recipe.data.config, samples)?;
    let preprocessing = recipe.model.preprocessing(&base.preprocessing);
    let model = Model::new(base, MethodConfig::zero_shot(), 0)?;
    let config = EvalConfig::new(recipe, dataset, &base.tokenizer, &preprocessing);
    let rows = evaluate(&model, samples, &sets, &config, |_| {})?.rows;
    Ok((model, rows))
}
