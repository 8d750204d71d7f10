//! The scores of a trained model: the best epoch's parameters are evaluated after the training.

use vlsm_data::Split;
use vlsm_models::{AdapterFile, Model, SegmentationModel};

use crate::error::Result;
use crate::evaluate::{Evaluation, PromptSet, Threshold, best_threshold, evaluate};
use crate::evaluate::{SemanticMetrics, evaluate_semantic};
use crate::observer::Observer;
use crate::setup::Setup;

/// The model with the best epoch's parameters, and its scores on a split. The recipe's evaluation
/// prompts are the first set.
pub(crate) struct Measured {
    pub(crate) model: Model,
    pub(crate) split: Split,
    pub(crate) evaluation: Evaluation,
}

/// The model with the best epoch's parameters. Chooses the threshold with the best Dice on the validation split, if that is used,
/// and adds it to the adapter file.
///
/// # Errors
/// If a file cannot be read or written, or the observer stops the measurement.
pub(crate) fn best_model(
    setup: &Setup<'_>,
    model: Model,
    observer: &mut dyn Observer,
) -> Result<(Model, Option<Threshold>)> {
    let path = setup.folder.adapter();
    let mut best = AdapterFile::read(&path)?;
    let model = model.for_inference().load(best.clone())?;
    if !setup.recipe.trainer.validate {
        return Ok((model, None));
    }
    let samples = setup.samples(Split::Val);
    let set = PromptSet::of_recipe(&setup.recipe.data.config, samples)?;
    let config = setup.eval_config().with_kept(setup.features, None);
    let threshold = best_threshold(&model, samples, &set, &config, |done| {
        observer.evaluation(Split::Val, done, samples.len())
    })?;
    let value = threshold.map(|threshold| threshold.value);
    if best.inference.threshold != value {
        best.inference.threshold = value;
        best.write(&path)?;
    }
    Ok((model, threshold))
}

/// Evaluates the best epoch's parameters on a split: under the recipe's evaluation prompts and
/// then, for the report, under every other prompt name of the data set.
///
/// # Errors
/// If a file cannot be read, or the observer stops the measurement.
pub(crate) fn measure(
    setup: &Setup<'_>,
    model: Model,
    split: Split,
    observer: &mut dyn Observer,
) -> Result<Measured> {
    let samples = setup.samples(split);
    let sets = PromptSet::every(setup.recipe, samples)?;
    let config = setup.eval_config().with_pictures();
    let evaluation = evaluate(&model, samples, &sets, &config, |done| {
        observer.evaluation(split, done, samples.len())
    })?;
    Ok(Measured {
        model,
        split,
        evaluation,
    })
}

/// The metrics of whole-image labels on the test split, if the masks hold class ids and the class names are distinct.
///
/// # Errors
/// As [`measure`].
pub(crate) fn label_test_images(
    setup: &Setup<'_>,
    model: &Model,
    observer: &mut dyn Observer,
) -> Result<Option<SemanticMetrics>> {
    let images = setup.dataset.labelled(Split::Test);
    if images.is_empty() {
        return Ok(None);
    }
    let classes = match setup.dataset.class_list() {
        Ok(classes) => classes,
        Err(error) => {
            tracing::warn!("no labels of whole images: {error}");
            return Ok(None);
        }
    };
    let images = setup.recipe.data.limited(images);
    let config = setup.eval_config();
    let evaluation = evaluate_semantic(model, images, &classes, &config, |done| {
        observer.evaluation(Split::Test, done, images.len())
    })?;
    Ok(Some(evaluation.metrics()))
}
