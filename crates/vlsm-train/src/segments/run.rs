//! From a recipe to a run's folder: prepare, train the stages, measure each.

use std::path::Path;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use vlsm_data::{DataError, Dataset, Sample, Split};
use vlsm_models::methods::Tower;
use vlsm_models::segments::{ClipBase, SegmentFile, SegmentModel};
use vlsm_models::{MethodConfig, device, weights};

use super::asked::{AskedNegatives, ask};
use super::classes::SegmentClasses;
use super::embed::Crops;
use super::evaluate::SegmentEvaluation;
use super::negatives::{Negatives, Queries};
use super::recipe::SegmentRecipe;
use super::scores::SegmentScores;
use super::train::{Setup, Training};
use crate::claim::Claim;
use crate::error::{Result, TrainError};
use crate::guarded::open_guarded;
use crate::identity::Identity;
use crate::memory::peak_memory;
use crate::observer::Observer;
use crate::run_folder::RunFolder;

/// The result of a training on segments, as `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentSummary {
    /// The base's name.
    pub base: String,
    /// Optimiser steps.
    pub steps: usize,
    /// Training segments.
    pub segments: usize,
    /// Negative queries.
    pub negatives: usize,
    /// What became of the answers of the language model that was asked for them, if one was.
    pub asked: Option<AskedNegatives>,
    /// The base without training, then after each stage; last blended with the base, where the recipe has a `blend` below 1.
    pub stages: Vec<AfterStage>,
    /// Seconds that training took, in all processes up to their last checkpoint.
    pub seconds: f64,
    /// Peak resident memory of this process in bytes, where the system reports it (Linux).
    pub peak_memory_bytes: Option<u64>,
}

/// The scores of the test split after a stage, or blended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AfterStage {
    /// What was trained last, such as `VPT-deep (4 tokens)`; `zero-shot` before the first, and `blended` with the base.
    pub trained: String,
    /// Number of parameters that the stage trained.
    pub trained_parameters: usize,
    /// The scores; `None` without test segments.
    pub test: Option<SegmentScores>,
}

/// Trains a recipe and writes the run to the folder `path`. With `resume`, continues an existing run from its last checkpoint.
/// `observer` is notified of every step and may stop the training; pass `&mut ()` if that is not needed.
///
/// # Errors
/// If the folder holds another run, a file cannot be read or written, the loss is no longer a number, or the observer stops the
/// training ([`TrainError::Stopped`]).
pub fn train_segments(
    recipe: &SegmentRecipe,
    path: &Path,
    resume: bool,
    observer: &mut dyn Observer,
) -> Result<SegmentSummary> {
    let recipe = recipe.with_absolute_paths();
    let folder = RunFolder { path: path.into() };
    let claim = Claim::for_training(&folder, |folder| {
        folder.expect_resumable(resume, |path| {
            recipe.changes_since(&SegmentRecipe::read(path, &[])?)
        })
    })?;
    train_claimed(recipe, &claim, observer)
}

/// [`train_segments`] in a folder that this process has claimed. The recipe's paths are absolute.
pub(crate) fn train_claimed(
    mut recipe: SegmentRecipe,
    claim: &Claim,
    observer: &mut dyn Observer,
) -> Result<SegmentSummary> {
    let folder = claim.folder();
    let (data, dataset) = open_guarded(&recipe.data, observer)?;
    recipe.data = data;
    let classes = SegmentClasses::new(&dataset, &recipe.novel)?;
    let (samples, truth) = of_base_classes(&dataset, &classes)?;
    let base = ClipBase::load(&recipe.base, &device(&recipe.device)?)?;
    let methods: Vec<MethodConfig> = recipe.stages().map(|stage| stage.method.clone()).collect();
    let model = SegmentModel::new(&base, &methods, recipe.seed)?;
    // Last, since a language model may be asked.
    let (queries, asked) = queries(&recipe, &classes, folder, observer)?;
    let novel = classes.base_and_novel()[1].len();
    observer.message(&format!(
        "{} training segments of {} base classes, {} negative queries, {novel} novel classes left out",
        samples.len(),
        classes.names().len() - novel,
        queries.negatives(),
    ));
    let identity = Identity::new(&base.identity, &base.preprocessing, &dataset);
    let setup = Setup {
        recipe: &recipe,
        folder,
        identity: &identity,
        tokenizer: &base.tokenizer,
        crops: Crops {
            preprocessing: &base.preprocessing,
            ignore: dataset.ignore,
            batch: recipe.eval_batch_size,
        },
        queries: &queries,
        samples: &samples,
        truth: &truth,
    };
    let training = Training::new(&setup, model)?;
    folder.write_recipe(&recipe.to_toml()?)?;
    let (model, progress, seconds) = training.fit(observer)?;
    let file = SegmentFile {
        path: folder.adapter(),
        tensors: weights::export(&model, |name| model.saves(name)),
        methods,
        base: base.identity.clone(),
        templates: texts(&recipe).map(str::to_owned).collect(),
        blend: recipe.blend,
    };
    file.write()?;
    let stages = measure(&recipe, &dataset, &classes, &base, &file, observer);
    let summary = SegmentSummary {
        base: base.identity.name.clone(),
        steps: progress.step,
        segments: samples.len(),
        negatives: queries.negatives(),
        asked,
        stages: stages.map_err(|error| match error {
            TrainError::Stopped => TrainError::Stopped,
            error => TrainError::Measure(Box::new(error)),
        })?,
        seconds,
        peak_memory_bytes: peak_memory(),
    };
    folder.write_summary(&summary)?;
    Ok(summary)
}

fn texts(recipe: &SegmentRecipe) -> impl Iterator<Item = &str> {
    recipe.templates.texts().into_iter()
}

/// The queries: base classes and negatives.
fn queries(
    recipe: &SegmentRecipe,
    classes: &SegmentClasses,
    folder: &RunFolder,
    observer: &mut dyn Observer,
) -> Result<(Queries, Option<AskedNegatives>)> {
    let [base, novel] = classes.base_and_novel();
    let mut queries = Queries::new(base.clone());
    let mut asked = None;
    match &recipe.negatives {
        None => {}
        Some(Negatives::File(path)) => queries.add_file(path, &novel)?,
        Some(Negatives::Endpoint(config)) => {
            let (lists, answers) = ask(config, folder, &base, &novel, observer)?;
            queries
                .add(lists, &novel)
                .map_err(|message| folder.error(message))?;
            asked = Some(answers);
        }
    }
    Ok((queries, asked))
}

/// The training segments of base classes, and the query of each.
fn of_base_classes<'a>(
    dataset: &'a Dataset,
    classes: &SegmentClasses,
) -> Result<(Vec<&'a Sample>, Vec<usize>)> {
    let is_base = |class: &usize| !classes.is_novel(*class);
    let base: Vec<usize> = (0..classes.names().len()).filter(is_base).collect();
    let (mut samples, mut truth) = (Vec::new(), Vec::new());
    for sample in dataset.require(Split::Train)? {
        let class = classes.of(dataset, sample)?;
        if let Some(query) = base.iter().position(|base| *base == class) {
            samples.push(sample);
            truth.push(query);
        }
    }
    if samples.is_empty() {
        return Err(TrainError::Data(DataError::Config {
            field: "novel",
            reason:
                "leaves no training segment: those of the training split are all of novel classes"
                    .into(),
        }));
    }
    for (query, class) in base.iter().enumerate() {
        if !truth.contains(&query) {
            tracing::warn!(
                "base class `{}` has no training segment; it is only a query of the other segments",
                classes.names()[*class]
            );
        }
    }
    Ok((samples, truth))
}

/// The scores of the test split by the base alone, after each stage, and blended.
fn measure(
    recipe: &SegmentRecipe,
    dataset: &Dataset,
    classes: &SegmentClasses,
    base: &ClipBase,
    file: &SegmentFile,
    observer: &mut dyn Observer,
) -> Result<Vec<AfterStage>> {
    let templates: Vec<&str> = texts(recipe).collect();
    let config = SegmentEvaluation {
        tokenizer: &base.tokenizer,
        preprocessing: &base.preprocessing,
        dataset,
        classes,
        templates: &templates,
        batch: recipe.eval_batch_size,
    };
    let samples = &dataset.test;
    let truth = config.truth(samples)?;
    let name = |model: &SegmentModel, segments: &Option<Tensor<2>>| {
        let named = segments.clone();
        let named = named.map(|segments| config.name(model, segments, &truth));
        named
            .transpose()
            .map(|named| named.map(|(_, scores)| scores))
    };
    // The embeddings of the base alone.
    let mut of_base = None;
    let mut after = Vec::new();
    // A stage that leaves the vision tower alone has the embeddings of the one before it.
    let mut segments = None;
    for stages in 0..=file.methods.len() {
        // Later stages are left out, as they were while this one was trained.
        let model = SegmentModel::new(base, &file.methods[..stages], recipe.seed)?;
        let mut tensors = file.tensors.clone();
        tensors.retain(|name, _| model.saves(name));
        let model = model.load(tensors, &file.path)?;
        let last = stages.checked_sub(1);
        if !samples.is_empty() && last.is_none_or(|last| model.changes_tower(last, Tower::Vision)) {
            let progress = |done| observer.evaluation(Split::Test, done, samples.len());
            segments = Some(config.embed(&model, samples, progress)?);
        }
        if stages == 0 {
            of_base = segments.clone();
        }
        after.push(AfterStage {
            trained: last.map_or("zero-shot".into(), |last| file.methods[last].label()),
            trained_parameters: last.map_or(0, |last| model.trained_parameters(last)),
            test: name(&model, &segments)?,
        });
    }
    if file.blend < 1.0 {
        let model = SegmentModel::with_file(base, file.clone())?;
        let both = segments.zip(of_base);
        let segments = both.map(|(adapted, base)| model.blend_crops(adapted, base));
        after.push(AfterStage {
            trained: format!("blended ({} adapted)", file.blend),
            trained_parameters: 0,
            test: name(&model, &segments)?,
        });
    }
    Ok(after)
}
