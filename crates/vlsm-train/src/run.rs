//! From a recipe to a run's folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::module::Module;
use serde::Serialize;
use vlsm_data::{Dataset, Format, Split, write_atomic_bytes};
use vlsm_models::{AdapterFile, Base, MethodKind, Model, SegmentationModel, device};

use crate::error::{Result, TrainError};
use crate::evaluate::{Evaluation, Metrics, PromptSet, Row, evaluate};
use crate::feature_cache::{CacheDtype, FeatureCache};
use crate::memory::peak_memory;
use crate::recipe::Recipe;
use crate::report::{of_split, write_report};
use crate::run_folder::RunFolder;
use crate::semantic::{SemanticMetrics, evaluate_semantic};
use crate::trainer::{Pace, Setup, Trainer, limited};

/// What came out of a run: `summary.json`.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    /// The base's name.
    pub base: String,
    /// Epochs completed.
    pub epochs: usize,
    /// Optimiser steps taken.
    pub steps: usize,
    /// The epoch with the best validation Dice, from 1; 0 if nothing was validated.
    pub best_epoch: usize,
    /// That Dice.
    pub best_val_dice: Option<f64>,
    /// Metrics on the test split of the best epoch's parameters.
    pub test: Option<Metrics>,
    /// The prompts they are under.
    pub test_prompt: Option<String>,
    /// Of masks of class ids, the metrics of whole-image labels on the test split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticMetrics>,
    /// Number of trained parameters.
    pub trainable_parameters: usize,
    /// Number of all parameters.
    pub total_parameters: usize,
    /// Mean seconds of an epoch, validation included, over the whole epochs of this process.
    pub seconds_per_epoch: Option<f64>,
    /// Seconds of each of them; the first has more to do where features are kept.
    pub epoch_seconds: Vec<f64>,
    /// Training images a second, validation left out.
    pub images_per_second: Option<f64>,
    /// Share of the training time in which a step waited for its images to be read and decoded.
    pub waiting_share: Option<f64>,
    /// Greatest resident memory of this process in bytes, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// The metrics of every test sample under every prompt set, the recipe's first; none if nothing was tested.
    #[serde(skip)]
    pub rows: Vec<Row>,
    /// Seconds that training took, unless a part of it was in another process.
    pub seconds: Option<f64>,
    /// The page to look at, unless it could not be written.
    #[serde(skip)]
    pub report: Option<PathBuf>,
}

/// The best epoch's parameters and what they score on a split. The recipe's evaluation prompts are
/// the first set.
pub(crate) struct Measured {
    pub(crate) model: Model,
    pub(crate) split: Split,
    pub(crate) evaluation: Evaluation,
}

/// Runs a recipe in a folder; with `resume`, goes on from the folder's last checkpoint.
///
/// # Errors
/// If the folder holds another run, or whatever the recipe names cannot be used.
pub fn train(recipe: &Recipe, path: &Path, resume: bool) -> Result<RunSummary> {
    let folder = RunFolder { path: path.into() };
    if recipe.method.config.kind == MethodKind::ZeroShot {
        return Err(TrainError::Run {
            path: path.into(),
            message: "`method.kind` is \"zero-shot\", which trains nothing; measure the base by \
                      `vlsm eval --base ...`, or choose another method"
                .into(),
        });
    }
    check_folder(&folder, recipe, resume)?;
    let device = device(&recipe.trainer.device)?;
    vlsm_kernels::recompute_activations(recipe.trainer.recompute);
    let dataset = Dataset::open(&recipe.data.config)?;
    dataset.require(Split::Train)?;
    if recipe.trainer.validate && dataset.val.is_empty() {
        if has_validation(recipe, &dataset) {
            dataset.require(Split::Val)?;
        }
        eprintln!(
            "no validation split: the last state is kept, and nothing ends the training early"
        );
    }
    let base = Base::load(&recipe.model.base, &device)?;
    let preprocessing = recipe.model.preprocessing(&base.preprocessing);
    let (recipe, model) = start(recipe, &base)?;
    let identity = base.identity.clone();
    let tokenizer = base.tokenizer.clone();
    drop(base);
    if model.uses_batch_statistics() && recipe.trainer.parts > 1 {
        return Err(TrainError::Run {
            path: path.into(),
            message: "`trainer.parts` must be 1 with `method.statistics = \"batch\"`: a batch has \
                      one mean"
                .into(),
        });
    }
    let (trainable, total) = (model.trained_parameters(), model.num_params());

    let model = model.for_training();
    let started = Instant::now();
    let features = FeatureCache::open(&model, &recipe, &dataset, &preprocessing, &identity)?;
    std::fs::create_dir_all(folder.path.join("checkpoint")).map_err(|source| {
        TrainError::Write {
            path: folder.path.clone(),
            source,
        }
    })?;
    write_atomic_bytes(&folder.recipe(), recipe.to_toml().as_bytes())?;
    let setup = Setup {
        recipe: &recipe,
        dataset: &dataset,
        tokenizer: &tokenizer,
        preprocessing: &preprocessing,
        base: &identity,
        features: features.as_ref(),
        folder: &folder,
    };
    let resumed = resume && folder.checkpoint().is_file();
    let (model, progress, pace) = Trainer::new(&setup, model, resume)?.fit()?;
    // Of a resumed training, a part of the time only is known.
    let seconds = (!resumed).then(|| started.elapsed().as_secs_f64());
    let (tested, untested) = if recipe.trainer.test && !dataset.test.is_empty() {
        (Some(measure(&setup, model, Split::Test)?), None)
    } else {
        (None, Some(model))
    };
    let headline = tested.as_ref().and_then(|tested| {
        let set = &tested.evaluation.rows.first()?.set;
        Some((tested.evaluation.of_set(set), set.clone()))
    });
    let semantic = match &tested {
        Some(tested) => label_test_images(&setup, &tested.model)?,
        None => None,
    };
    let mut summary = RunSummary {
        base: identity.name.clone(),
        epochs: progress.epoch,
        steps: progress.step,
        best_epoch: progress.best_epoch,
        best_val_dice: progress.best_dice,
        test_prompt: headline.as_ref().map(|(_, prompt)| prompt.clone()),
        test: headline.map(|(metrics, _)| metrics),
        semantic,
        trainable_parameters: trainable,
        total_parameters: total,
        seconds_per_epoch: mean(&pace.epochs),
        epoch_seconds: pace.epochs.clone(),
        images_per_second: rate(&pace),
        waiting_share: share(pace.waiting, pace.training),
        peak_memory_bytes: peak_memory(),
        rows: tested
            .as_ref()
            .map(|tested| tested.evaluation.rows.clone())
            .unwrap_or_default(),
        seconds,
        report: None,
    };
    let json = serde_json::to_string_pretty(&summary).unwrap_or_default();
    write_atomic_bytes(&folder.summary(), (json + "\n").as_bytes())?;

    // The run is complete: whatever happens to its report must not undo it.
    let measured = match untested {
        Some(model) if recipe.trainer.test && !dataset.val.is_empty() => {
            measure(&setup, model, Split::Val).map(Some)
        }
        _ => Ok(tested),
    };
    match measured.and_then(|measured| write_report(&setup, &summary, measured)) {
        Ok(path) => summary.report = Some(path),
        Err(error) => eprintln!("the run is complete, but its report is not written: {error}"),
    }
    Ok(summary)
}

/// Whether a data set is meant to have a validation split, so that an empty one is a fault: there
/// is an annotation file for it, or a share or a list of the images is set apart.
fn has_validation(recipe: &Recipe, dataset: &Dataset) -> bool {
    let data = &recipe.data.config;
    match dataset.format {
        Format::Annotations => {
            let mut roots = data.roots().iter();
            roots.any(|root| root.join("anns/val.json").exists())
        }
        _ => data.split.val > 0.0 || data.split.val_list.is_some(),
    }
}

/// The model at its start, and the recipe with what an adapter file to start from decides.
fn start(recipe: &Recipe, base: &Base) -> Result<(Recipe, Model)> {
    let mut recipe = recipe.clone();
    let Some(path) = &recipe.method.init_from else {
        let seed = recipe.trainer.seed;
        let model = Model::new(base, recipe.method.config.clone(), seed)?;
        return Ok((recipe, model));
    };
    let adapter = AdapterFile::read(path)?;
    if recipe.method.config != adapter.method {
        eprintln!(
            "the method is that of `{}`: {}",
            path.display(),
            serde_json::to_string(&adapter.method).unwrap_or_default()
        );
    }
    recipe.method.config = adapter.method.clone();
    let model = Model::with_adapter(base, adapter)?;
    Ok((recipe, model))
}

/// Refuses a folder that holds a run that would be overwritten or mixed up.
fn check_folder(folder: &RunFolder, recipe: &Recipe, resume: bool) -> Result<()> {
    let path = folder.recipe();
    if !path.exists() {
        return Ok(());
    }
    let error = |message: String| {
        Err(TrainError::Run {
            path: folder.path.clone(),
            message,
        })
    };
    if !resume {
        return error(
            "holds a run already; go on with it by `--resume`, or choose another folder by `--out`"
                .into(),
        );
    }
    // A run may be made longer; all else would make it another run.
    let mut changed = changed_keys(recipe, &Recipe::read(&path, &[])?);
    changed.retain(|key| key != "trainer.epochs" && key != "trainer.max_steps");
    if changed.is_empty() {
        Ok(())
    } else {
        error(format!(
            "was made by a recipe with other values of `{}`; resume with that recipe ({}), or \
             choose another folder by `--out`",
            changed.join("`, `"),
            path.display()
        ))
    }
}

/// The keys that make a recipe another run than that of `there`, a run's own recipe.
pub(crate) fn changed_keys(recipe: &Recipe, there: &Recipe) -> Vec<String> {
    let mut free = vec![
        "trainer.device",
        "trainer.recompute",
        "cache.max_gb",
        "cache.dir",
    ];
    if recipe.cache.dtype == CacheDtype::F32 {
        free.push("cache.features");
    }
    let mut wanted = recipe.clone();
    if wanted.method.init_from.is_some() {
        wanted.method.config = there.method.config.clone();
    }
    let mut changed = wanted.differences(there);
    changed.retain(|key| !free.contains(&key.as_str()));
    changed
}

/// Evaluates the best epoch's parameters on a split: under the recipe's evaluation prompts and
/// then, for the report, under every other prompt name of the data set.
fn measure(setup: &Setup<'_>, model: Model, split: Split) -> Result<Measured> {
    let samples = of_split(setup, split);
    let best = AdapterFile::read(&setup.folder.adapter())?;
    let model = model.for_inference().load(best)?;
    let sets = PromptSet::every(&setup.recipe.data.config, samples)?;
    let evaluation = evaluate(&model, samples, &sets, &setup.eval_config(), |_| {})?;
    Ok(Measured {
        model,
        split,
        evaluation,
    })
}

/// The metrics of whole-image labels on the test split, if masks are of class ids whose names tell them apart.
fn label_test_images(setup: &Setup<'_>, model: &Model) -> Result<Option<SemanticMetrics>> {
    let images = setup.dataset.labelled(Split::Test);
    if images.is_empty() {
        return Ok(None);
    }
    let classes = match setup.dataset.class_list() {
        Ok(classes) => classes,
        Err(error) => {
            eprintln!("no labels of whole images: {error}");
            return Ok(None);
        }
    };
    let images = limited(images, setup.recipe.data.eval_limit);
    let evaluation = evaluate_semantic(model, images, &classes, &setup.eval_config(), |_| {})?;
    Ok(Some(evaluation.metrics()))
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn share(part: Duration, whole: Duration) -> Option<f64> {
    (!whole.is_zero()).then(|| part.as_secs_f64() / whole.as_secs_f64())
}

fn rate(pace: &Pace) -> Option<f64> {
    let seconds = pace.training.as_secs_f64();
    (seconds > 0.0).then(|| pace.images as f64 / seconds)
}
