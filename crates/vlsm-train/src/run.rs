//! From a recipe to a run's folder: prepare, fit, measure, summarise.

use std::path::Path;

use burn::module::Module;
use vlsm_data::{Dataset, Split};
use vlsm_models::{
    AdapterFile, Base, BaseIdentity, Inference, Model, Preprocessing, SegmentationModel, Tokenizer,
    device,
};

use crate::checkpoint::{Progress, Throughput};
use crate::claim::Claim;
use crate::error::{Result, TrainError};
use crate::evaluate::{SemanticMetrics, Threshold};
use crate::feature_cache::FeatureCache;
use crate::guarded::{look, open_guarded};
use crate::identity::Identity;
use crate::inference::inference;
use crate::measure::{Measured, best_model, label_test_images, measure};
use crate::memory::peak_memory;
use crate::observer::Observer;
use crate::recipe::Recipe;
use crate::run_checks::{check, has_validation, warn};
use crate::run_folder::{Existing, RunFolder};
use crate::run_report::write_report;
use crate::setup::Setup;
use crate::summary::RunSummary;
use crate::trainer::Trainer;

/// Trains a recipe on the data set of its `[data]` section and writes the run to the folder `path`. `existing` says what
/// to do with a run that is there: [`Existing`], or whether to resume it. `observer` is notified of every step and may stop the training; pass `&mut ()` if that
/// is not needed.
///
/// # Errors
/// If the recipe is not valid, the folder holds another run, a file cannot be read or written, the loss is no longer a number,
/// or the observer stops the training ([`TrainError::Stopped`]).
pub fn train(
    recipe: &Recipe,
    path: &Path,
    existing: impl Into<Existing>,
    observer: &mut dyn Observer,
) -> Result<RunSummary> {
    let (recipe, existing) = (recipe.with_absolute_paths(), existing.into());
    check(&recipe, path)?;
    let claim = claim(&recipe, path, existing)?;
    train_from_files(&recipe, &claim, existing, observer)
}

/// Like [`train`], with a recipe that is checked, in a folder that is already locked. A run in it is continued, unless it is to be replaced.
pub(crate) fn train_from_files(
    recipe: &Recipe,
    claim: &Claim,
    existing: Existing,
    observer: &mut dyn Observer,
) -> Result<RunSummary> {
    let (data, dataset) = open_guarded(&recipe.data.config, observer)?;
    let mut recipe = recipe.clone();
    recipe.data.config = data;
    dataset.require(Split::Train)?;
    if recipe.trainer.validate && dataset.val.is_empty() && has_validation(&recipe, &dataset) {
        dataset.require(Split::Val)?;
    }
    train_claimed(recipe, &dataset, claim, existing, observer)
}

/// Like [`train`], on a data set that is already open or was built in memory. The recipe's `[data]` section then says how samples
/// are used (prompts, order, workers), but not where they come from.
///
/// # Errors
/// Like [`train`].
pub fn train_on(
    recipe: &Recipe,
    dataset: &Dataset,
    path: &Path,
    existing: impl Into<Existing>,
    observer: &mut dyn Observer,
) -> Result<RunSummary> {
    let (mut recipe, existing) = (recipe.clone(), existing.into());
    let data = &mut recipe.data.config;
    if data.pool.is_empty() && data.root.as_os_str().is_empty() {
        // The run's recipe.toml must say what the run was trained on.
        data.root = dataset.root.clone();
    }
    check(&recipe, path)?;
    let claim = claim(&recipe, path, existing)?;
    let window = look(dataset, &recipe.data.config.accept, observer)?;
    recipe.data.config.window = recipe.data.config.window.or(window);
    train_claimed(recipe, dataset, &claim, existing, observer)
}

/// Locks the folder, which must not hold another run.
fn claim(recipe: &Recipe, path: &Path, existing: Existing) -> Result<Claim> {
    let folder = RunFolder { path: path.into() };
    Claim::for_training(&folder, |folder| folder.expect_run_of(recipe, existing))
}

fn train_claimed(
    recipe: Recipe,
    dataset: &Dataset,
    claim: &Claim,
    existing: Existing,
    observer: &mut dyn Observer,
) -> Result<RunSummary> {
    dataset.require(Split::Train)?;
    if existing == Existing::Replace {
        claim.folder().clear()?;
    }
    warn(&recipe, dataset);
    let (prepared, model) = Prepared::new(recipe, dataset, claim, observer)?;
    let features = FeatureCache::open(
        &model,
        &prepared.recipe,
        dataset,
        &prepared.preprocessing,
        &prepared.base,
        observer,
    )?;
    let [train, val, test] = Split::ALL.map(|split| dataset.split(split).len());
    observer.message(&format!(
        "{train} samples for training, {val} for validation, {test} for the test"
    ));
    let setup = prepared.setup(dataset, features.as_ref());
    let trainer = Trainer::new(&setup, model)?;
    prepared.write_recipe()?;
    let (model, progress, throughput) = trainer.fit(observer)?;
    let fitted = Fitted {
        progress,
        throughput,
    };
    finish(&prepared, &setup, model, &fitted, observer)
}

/// What a run needs from its recipe and its base.
struct Prepared {
    /// The recipe. If it starts from an adapter file, with that file's method.
    recipe: Recipe,
    folder: RunFolder,
    base: BaseIdentity,
    identity: Identity,
    inference: Inference,
    /// The base's commit on the hub.
    revision: Option<String>,
    tokenizer: Tokenizer,
    preprocessing: Preprocessing,
    trained_parameters: usize,
    total_parameters: usize,
}

impl Prepared {
    /// Loads the base and makes the model, ready for training.
    fn new(
        mut recipe: Recipe,
        dataset: &Dataset,
        claim: &Claim,
        observer: &mut dyn Observer,
    ) -> Result<(Self, Model)> {
        let folder = claim.folder().clone();
        let device = device(&recipe.trainer.device)?;
        let base =
            Base::load(&recipe.model.base, &device)?.with_precision(recipe.model.precision)?;
        let model = start(&mut recipe, &base, &folder, observer)?;
        if model.uses_batch_statistics() && recipe.trainer.data_parallel > 1 {
            return Err(TrainError::Run {
                path: folder.path,
                message:
                    "`trainer.data_parallel` must be 1 with `method.statistics = \"batch\"`, since batch \
                          norm needs the whole batch; set it to 1, or `method.statistics` to \"running\""
                        .into(),
            });
        }
        let preprocessing = recipe.model.preprocessing(&base.preprocessing);
        let prepared = Self {
            folder,
            identity: Identity::new(&base.identity, &preprocessing, dataset),
            inference: inference(&recipe, dataset, &base)?,
            revision: base.revision,
            preprocessing,
            recipe,
            base: base.identity,
            tokenizer: base.tokenizer,
            trained_parameters: model.trained_parameters(),
            total_parameters: model.num_params(),
        };
        let model = model.with_recompute(prepared.recipe.trainer.recompute);
        Ok((prepared, model.for_training()))
    }

    /// Writes the recipe as run.
    fn write_recipe(&self) -> Result<()> {
        self.folder.write_recipe(&self.recipe.to_toml()?)
    }

    fn setup<'a>(&'a self, dataset: &'a Dataset, features: Option<&'a FeatureCache>) -> Setup<'a> {
        Setup {
            recipe: &self.recipe,
            dataset,
            tokenizer: &self.tokenizer,
            preprocessing: &self.preprocessing,
            base: &self.base,
            inference: &self.inference,
            identity: &self.identity,
            features,
            folder: &self.folder,
        }
    }
}

/// The model before the first step. If the recipe starts from an adapter file, the file's method replaces the recipe's.
fn start(
    recipe: &mut Recipe,
    base: &Base,
    folder: &RunFolder,
    observer: &mut dyn Observer,
) -> Result<Model> {
    let init_from = recipe.method.init_from.as_ref();
    let resumed = folder.checkpoint().is_file();
    if init_from.is_some() && resumed {
        // The checkpoint has all that the file had, so the file need not exist any more.
        recipe.method.config = Recipe::read(&folder.recipe(), &[])?.method.config;
    }
    let Some(path) = init_from.filter(|_| !resumed) else {
        let (method, seed) = (recipe.method.config.clone(), recipe.trainer.seed);
        return Ok(Model::new(base, method, seed)?);
    };
    let adapter = AdapterFile::read(path)?;
    if recipe.method.config != adapter.method {
        let path = path.display();
        observer.message(&match serde_json::to_string(&adapter.method) {
            Ok(method) => format!("the method is taken from `{path}`: {method}"),
            Err(_) => format!("the method is taken from `{path}`"),
        });
    }
    recipe.method.config = adapter.method.clone();
    Ok(Model::with_adapter(base, adapter)?)
}

/// State and timing of a training after its last step.
struct Fitted {
    progress: Progress,
    throughput: Throughput,
}

/// Evaluates the best epoch's parameters, and writes the summary and the report.
fn finish(
    prepared: &Prepared,
    setup: &Setup<'_>,
    model: Model,
    fitted: &Fitted,
    observer: &mut dyn Observer,
) -> Result<RunSummary> {
    // A failure or a stop from here on must not lose what is known of the training.
    let folder = &prepared.folder;
    folder.write_summary(&summarise(prepared, fitted, None, None, None))?;
    let (model, threshold) = best_model(setup, model, observer).map_err(not_measured)?;
    let test = setup.recipe.trainer.test;
    let (tested, untested) = if test && !setup.dataset.test.is_empty() {
        let tested = measure(setup, model, Split::Test, observer).map_err(not_measured)?;
        (Some(tested), None)
    } else {
        (None, Some(model))
    };
    let semantic = match &tested {
        Some(tested) => label_test_images(setup, &tested.model, observer).map_err(not_measured)?,
        None => None,
    };
    let mut summary = summarise(prepared, fitted, threshold, tested.as_ref(), semantic);
    folder.write_summary(&summary)?;

    // The run is complete, so a failure of its report is only a warning.
    let measured = match untested {
        Some(model) if test && !setup.dataset.val.is_empty() => {
            measure(setup, model, Split::Val, observer).map(Some)
        }
        _ => Ok(tested),
    };
    match measured.and_then(|measured| write_report(setup, &summary, measured)) {
        Ok(path) => summary.report = Some(path),
        Err(error @ TrainError::Stopped) => return Err(error),
        Err(error) => {
            tracing::warn!("the run is complete, but its report could not be written: {error}");
        }
    }
    Ok(summary)
}

/// An error of the evaluation after the training.
fn not_measured(error: TrainError) -> TrainError {
    match error {
        TrainError::Stopped => TrainError::Stopped,
        error => TrainError::Measure(Box::new(error)),
    }
}

fn summarise(
    prepared: &Prepared,
    fitted: &Fitted,
    threshold: Option<Threshold>,
    tested: Option<&Measured>,
    semantic: Option<SemanticMetrics>,
) -> RunSummary {
    let Fitted {
        progress,
        throughput,
    } = fitted;
    let rows = tested.map_or(Vec::new(), |tested| tested.evaluation.rows.clone());
    let prompt = rows.first().map(|row| row.set.clone());
    let evaluation = tested.map(|tested| &tested.evaluation);
    let epochs = &throughput.epochs;
    let training = throughput.training.as_secs_f64();
    RunSummary {
        base: prepared.base.name.clone(),
        base_revision: prepared.revision.clone(),
        identity: prepared.identity.clone(),
        epochs: progress.epoch,
        steps: progress.step,
        best_epoch: progress.best_epoch,
        best_val_dice: progress.best_dice,
        threshold,
        test: evaluation
            .zip(prompt.as_ref())
            .map(|(evaluation, prompt)| evaluation.for_prompt_set(prompt)),
        test_prompt: prompt,
        semantic,
        trainable_parameters: prepared.trained_parameters,
        total_parameters: prepared.total_parameters,
        seconds_per_epoch: (!epochs.is_empty())
            .then(|| epochs.iter().sum::<f64>() / epochs.len() as f64),
        epoch_seconds: epochs.clone(),
        images_per_second: (training > 0.0).then(|| throughput.images as f64 / training),
        waiting_share: (training > 0.0).then(|| throughput.waiting.as_secs_f64() / training),
        peak_memory_bytes: peak_memory(),
        rows,
        seconds: throughput.seconds,
        report: None,
    }
}
