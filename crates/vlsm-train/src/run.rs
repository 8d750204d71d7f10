//! From a recipe to a run's folder: prepare, fit, measure, summarise.

use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use vlsm_data::{Dataset, Format, Split};
use vlsm_image::write_atomic_bytes;
use vlsm_models::{
    AdapterFile, Base, BaseIdentity, MethodConfig, Model, Preprocessing, SegmentationModel,
    Tokenizer, device,
};

use crate::checkpoint::Progress;
use crate::error::{Result, TrainError};
use crate::evaluate::SemanticMetrics;
use crate::feature_cache::FeatureCache;
use crate::measure::{Measured, label_test_images, measure};
use crate::memory::peak_memory;
use crate::observer::Observer;
use crate::recipe::Recipe;
use crate::run_folder::RunFolder;
use crate::run_report::write_report;
use crate::setup::Setup;
use crate::summary::RunSummary;
use crate::trainer::{Throughput, Trainer};

/// Trains a recipe on the data set of its `[data]` section and writes the run to the folder `path`. With `resume`, continues an
/// existing run from its last checkpoint. `observer` is notified of every step and may stop the training; pass `&mut ()` if that
/// is not needed.
///
/// # Errors
/// If the recipe is not valid, the folder holds another run, a file cannot be read or written, the loss is no longer a number,
/// or the observer stops the training ([`TrainError::Stopped`]).
pub fn train(
    recipe: &Recipe,
    path: &Path,
    resume: bool,
    observer: &mut dyn Observer,
) -> Result<RunSummary> {
    check(recipe, path, resume)?;
    let dataset = vlsm_synth::open(&recipe.data.config)?;
    dataset.require(Split::Train)?;
    if recipe.trainer.validate && dataset.val.is_empty() && has_validation(recipe, &dataset) {
        dataset.require(Split::Val)?;
    }
    train_on(recipe, &dataset, path, resume, observer)
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
    resume: bool,
    observer: &mut dyn Observer,
) -> Result<RunSummary> {
    let mut recipe = recipe.clone();
    let data = &mut recipe.data.config;
    if data.pool.is_empty() && data.root.as_os_str().is_empty() {
        // The run's recipe.toml must say what the run was trained on.
        data.root = dataset.root.clone();
    }
    check(&recipe, path, resume)?;
    dataset.require(Split::Train)?;
    if recipe.trainer.validate && dataset.val.is_empty() {
        tracing::warn!(
            "no validation split: the parameters of the last epoch are kept, and there is no early stopping"
        );
    }
    let folder = RunFolder { path: path.into() };
    let (prepared, model) = Prepared::new(recipe, folder, observer)?;
    let started = Instant::now();
    let features = FeatureCache::open(
        &model,
        &prepared.recipe,
        dataset,
        &prepared.preprocessing,
        &prepared.base,
        observer,
    )?;
    prepared.write_recipe()?;
    let setup = prepared.setup(dataset, features.as_ref());
    let resumed = resume && prepared.folder.checkpoint().is_file();
    let (model, progress, throughput) = Trainer::new(&setup, model, resume)?.fit(observer)?;
    let fitted = Fitted {
        progress,
        throughput,
        // For a resumed training, the time of the earlier part is not known.
        seconds: (!resumed).then(|| started.elapsed().as_secs_f64()),
    };
    finish(&prepared, &setup, model, &fitted, observer)
}

/// Refuses what is wrong before the base and the data set are read.
fn check(recipe: &Recipe, path: &Path, resume: bool) -> Result<()> {
    let folder = RunFolder { path: path.into() };
    recipe.validate().map_err(|message| TrainError::Recipe {
        path: folder.recipe(),
        message,
    })?;
    if matches!(recipe.method.config, MethodConfig::ZeroShot(_)) {
        return Err(TrainError::Run {
            path: path.into(),
            message:
                "`method.kind` is \"zero-shot\", which trains nothing; evaluate the base with \
                      `vlsm eval --base ...`, or choose another method"
                    .into(),
        });
    }
    folder.expect_run_of(recipe, resume)
}

/// Whether a data set should have a validation split, so that an empty one is an error: it has an
/// annotation file, a fraction or a list for it.
fn has_validation(recipe: &Recipe, dataset: &Dataset) -> bool {
    let data = &recipe.data.config;
    match dataset.format {
        Some(Format::Annotations) => {
            let mut roots = data.roots().iter();
            roots.any(|root| root.join("anns/val.json").exists())
        }
        _ => data.split.val > 0.0 || data.split.val_list.is_some(),
    }
}

/// What a run needs from its recipe and its base.
struct Prepared {
    /// The recipe. If it starts from an adapter file, with that file's method.
    recipe: Recipe,
    folder: RunFolder,
    base: BaseIdentity,
    tokenizer: Tokenizer,
    preprocessing: Preprocessing,
    trained_parameters: usize,
    total_parameters: usize,
}

impl Prepared {
    /// Loads the base and makes the model, ready for training.
    fn new(
        mut recipe: Recipe,
        folder: RunFolder,
        observer: &mut dyn Observer,
    ) -> Result<(Self, Model)> {
        let device = device(&recipe.trainer.device)?;
        let base = Base::load(&recipe.model.base, &device)?;
        let model = start(&mut recipe, &base, observer)?;
        if model.uses_batch_statistics() && recipe.trainer.data_parallel > 1 {
            return Err(TrainError::Run {
                path: folder.path,
                message:
                    "`trainer.data_parallel` must be 1 with `method.statistics = \"batch\"`, since batch \
                          norm needs the whole batch; set it to 1, or `method.statistics` to \"running\""
                        .into(),
            });
        }
        let prepared = Self {
            folder,
            preprocessing: recipe.model.preprocessing(&base.preprocessing),
            recipe,
            base: base.identity,
            tokenizer: base.tokenizer,
            trained_parameters: model.trained_parameters(),
            total_parameters: model.num_params(),
        };
        let model = model.with_recompute(prepared.recipe.trainer.recompute);
        Ok((prepared, model.for_training()))
    }

    /// Creates the folder and writes the recipe as run.
    fn write_recipe(&self) -> Result<()> {
        let checkpoints = self.folder.path.join("checkpoint");
        std::fs::create_dir_all(checkpoints).map_err(|source| TrainError::Write {
            path: self.folder.path.clone(),
            source,
        })?;
        let text = self.recipe.to_toml()?;
        Ok(write_atomic_bytes(&self.folder.recipe(), text.as_bytes())?)
    }

    fn setup<'a>(&'a self, dataset: &'a Dataset, features: Option<&'a FeatureCache>) -> Setup<'a> {
        Setup {
            recipe: &self.recipe,
            dataset,
            tokenizer: &self.tokenizer,
            preprocessing: &self.preprocessing,
            base: &self.base,
            features,
            folder: &self.folder,
        }
    }
}

/// The model before the first step. If the recipe starts from an adapter file, the file's method replaces the recipe's.
fn start(recipe: &mut Recipe, base: &Base, observer: &mut dyn Observer) -> Result<Model> {
    let Some(path) = &recipe.method.init_from else {
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
    seconds: Option<f64>,
}

/// Evaluates the best epoch's parameters, and writes the summary and the report.
fn finish(
    prepared: &Prepared,
    setup: &Setup<'_>,
    model: Model,
    fitted: &Fitted,
    observer: &mut dyn Observer,
) -> Result<RunSummary> {
    let test = setup.recipe.trainer.test;
    let (tested, untested) = if test && !setup.dataset.test.is_empty() {
        (Some(measure(setup, model, Split::Test, observer)?), None)
    } else {
        (None, Some(model))
    };
    let semantic = match &tested {
        Some(tested) => label_test_images(setup, &tested.model)?,
        None => None,
    };
    let mut summary = summarise(prepared, fitted, tested.as_ref(), semantic);
    summary.write(&prepared.folder.summary())?;

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

fn summarise(
    prepared: &Prepared,
    fitted: &Fitted,
    tested: Option<&Measured>,
    semantic: Option<SemanticMetrics>,
) -> RunSummary {
    let Fitted {
        progress,
        throughput,
        seconds,
    } = fitted;
    let rows = tested.map_or(Vec::new(), |tested| tested.evaluation.rows.clone());
    let prompt = rows.first().map(|row| row.set.clone());
    let evaluation = tested.map(|tested| &tested.evaluation);
    let epochs = &throughput.epochs;
    let training = throughput.training.as_secs_f64();
    RunSummary {
        base: prepared.base.name.clone(),
        epochs: progress.epoch,
        steps: progress.step,
        best_epoch: progress.best_epoch,
        best_val_dice: progress.best_dice,
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
        seconds: *seconds,
        report: None,
    }
}
