//! The training loop.

mod requests;
mod step;

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vlsm_data::{Example, Loader, LoaderConfig, Sample, Split};
use vlsm_models::predict::{PromptEncoder, PromptStates};
use vlsm_models::weights;
use vlsm_models::{AdapterFile, SegmentationModel};

use crate::checkpoint::{Checkpoint, Progress, Throughput};
use crate::error::{Result, TrainError};
use crate::evaluate::{PromptSet, evaluate};
use crate::metrics_file::MetricsFile;
use crate::observer::{EpochMetrics, Observer, StepReport};
use crate::optimizer::Optimizer;
use crate::setup::Setup;
use requests::requests;

/// Longest training time without a checkpoint, for runs that set no number of steps.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(600);

/// A model in training.
pub struct Trainer<'a, M> {
    setup: &'a Setup<'a>,
    /// `None` during a step. The step changes parameters in place, so it must hold the only reference to them.
    model: Option<M>,
    optimizer: Optimizer,
    progress: Progress,
    metrics: MetricsFile,
    saved: Instant,
    train: Arc<[Sample]>,
    val: &'a [Sample],
    val_prompts: PromptSet,
    output_size: usize,
    pools: Vec<rayon::ThreadPool>,
    prompt_states: Option<PromptStates>,
    throughput: Throughput,
    /// When the time in `throughput.seconds` ended.
    started: Instant,
}

impl<'a, M: SegmentationModel> Trainer<'a, M> {
    /// Starts a training, or continues it from the checkpoint in the run's folder if there is one.
    /// Gradients must be tracked for the trained parameters of `model`.
    ///
    /// # Errors
    /// If a split is empty, a prompt is missing, or the run's files cannot be read or written.
    pub fn new(setup: &'a Setup<'a>, model: M) -> Result<Self> {
        let recipe = setup.recipe;
        let train = setup.dataset.require(Split::Train)?;
        let val: &[Sample] = if recipe.trainer.validate {
            setup.samples(Split::Val)
        } else {
            &[]
        };
        let output_size = model.output_size(setup.preprocessing.image_size)?;
        let mut optimizer = Optimizer::new(&recipe.optim);
        let (mut progress, mut throughput) = (Progress::default(), Throughput::default());
        let mut model = model;
        let path = setup.folder.checkpoint();
        if path.is_file() {
            let mut checkpoint = Checkpoint::read(&path)?;
            if let Some(message) = checkpoint.identity.mismatch(setup.identity) {
                let path = setup.folder.path.clone();
                return Err(TrainError::Run { path, message });
            }
            let (restored, mismatch) =
                weights::import(model.clone(), checkpoint.parameters, |name| {
                    model.saves(name)
                });
            model = restored;
            if !mismatch.is_empty() {
                return Err(TrainError::Run {
                    path,
                    message: format!("does not match the recipe's model: {}", mismatch.describe()),
                });
            }
            optimizer.restore(
                &mut checkpoint.moments,
                checkpoint.moment_steps,
                &model.device(),
            );
            progress = checkpoint.progress;
            throughput = checkpoint.throughput;
        }
        let (bytes, digest) = (progress.metrics_bytes, progress.metrics_digest);
        let metrics = MetricsFile::open(setup.folder.metrics(), bytes, digest)?;
        Ok(Self {
            val_prompts: PromptSet::of_recipe(&recipe.data.config, val)?,
            train: Arc::from(train),
            val,
            setup,
            prompt_states: PromptStates::for_model(&model)?,
            model: Some(model),
            optimizer,
            progress,
            metrics,
            saved: Instant::now(),
            output_size,
            pools: step::pools(recipe.trainer.data_parallel)?,
            throughput,
            started: Instant::now(),
        })
    }

    /// Trains until the recipe's epochs or steps are done, or early stopping ends the training.
    ///
    /// Writes `adapter.safetensors` (the best epoch by validation Dice, or the last state if nothing
    /// is validated) and `adapter_last.safetensors`.
    ///
    /// # Errors
    /// If the loss is no longer a number, a file cannot be read or written, or `observer` stops the training.
    pub fn fit(mut self, observer: &mut dyn Observer) -> Result<(M, Progress, Throughput)> {
        let trainer = &self.setup.recipe.trainer;
        let total = trainer.steps(self.train.len());
        let encoders: Vec<PromptEncoder<'_>> = (0..trainer.data_parallel)
            .map(|_| {
                PromptEncoder::training(self.setup.tokenizer)
                    .with_states(self.prompt_states.clone())
            })
            .collect();
        observer.start(total);
        if self.stopped() && self.progress.epoch < trainer.epochs {
            observer.message(&format!(
                "early stopping ended this run after epoch {}; raise `trainer.patience` to continue it",
                self.progress.epoch
            ));
        }
        while self.progress.epoch < trainer.epochs && !self.stopped() {
            let steps_left = self.progress.step < total;
            // An epoch that `max_steps` cut short is validated after its checkpoint, so a resumed run validates it again.
            if !steps_left && self.progress.position == 0 {
                break;
            }
            if self.run_epoch(total, &encoders, observer)?.is_break() {
                return Err(TrainError::Stopped);
            }
            if self.progress.step >= total {
                break;
            }
        }
        self.count_time();
        self.save_adapter(&self.setup.folder.last_adapter())?;
        if self.progress.best_dice.is_none() {
            self.save_adapter(&self.setup.folder.adapter())?;
        }
        match self.model {
            Some(model) => Ok((model, self.progress, self.throughput)),
            None => unreachable!("a step returns the model"),
        }
    }

    /// Adds the time since the last call to that of the training.
    fn count_time(&mut self) {
        let now = Instant::now();
        self.throughput.seconds += (now - self.started).as_secs_f64();
        self.started = now;
    }

    /// Whether early stopping ends the training.
    fn stopped(&self) -> bool {
        let (trainer, progress) = (&self.setup.recipe.trainer, &self.progress);
        trainer.patience > 0
            && progress.bad_epochs >= trainer.patience
            && progress.epoch >= trainer.min_epochs
    }

    fn model(&self) -> &M {
        match &self.model {
            Some(model) => model,
            None => unreachable!("a step returns the model"),
        }
    }

    /// Runs the rest of the current epoch, up to `total` steps, and validates. Returns `Break` if the observer stops the training;
    /// a checkpoint is then written.
    fn run_epoch(
        &mut self,
        total: usize,
        encoders: &[PromptEncoder<'_>],
        observer: &mut dyn Observer,
    ) -> Result<ControlFlow<()>> {
        let started = Instant::now();
        let whole = self.progress.position == 0;
        let recipe = self.setup.recipe;
        let mut loader = self.loader()?;
        while self.progress.step < total {
            let step_started = Instant::now();
            let examples: Vec<Example> = loader
                .by_ref()
                .take(recipe.trainer.step_samples())
                .collect::<vlsm_data::Result<_>>()?;
            if examples.is_empty() {
                break;
            }
            self.throughput.waiting += step_started.elapsed();
            let metrics = self.step(&examples, encoders, total)?;
            self.throughput.training += step_started.elapsed();
            self.throughput.images += examples.len();
            let flow = observer.step(&StepReport {
                metrics,
                epoch: self.progress.epoch + 1,
                epoch_loss: self.progress.epoch_loss(),
                images: self.throughput.images,
                training: self.throughput.training,
            });
            let due = match recipe.trainer.checkpoint_every {
                0 => self.saved.elapsed() >= CHECKPOINT_AFTER,
                every => self.progress.step.is_multiple_of(every),
            };
            if flow.is_break() || due {
                self.save_checkpoint(observer)?;
            }
            if flow.is_break() {
                return Ok(flow);
            }
        }
        drop(loader);
        let complete = self.progress.position >= self.train.len();
        if !complete {
            // Stopped by `max_steps`. The checkpoint is written before the validation, so that a run
            // with more steps continues as if it had not stopped.
            self.save_checkpoint(observer)?;
        }
        let Some(metrics) = self.validate(complete, total, observer)? else {
            self.save_checkpoint(observer)?;
            return Ok(ControlFlow::Break(()));
        };
        self.metrics.write(&metrics)?;
        if complete {
            self.end_epoch(&metrics);
            if whole {
                let seconds = started.elapsed().as_secs_f64();
                self.throughput.epochs.push(seconds);
            }
            self.save_checkpoint(observer)?;
        }
        Ok(observer.epoch(&metrics))
    }

    /// The remaining samples of the current epoch in the epoch's order, each with its prompt. Order,
    /// prompts and what happens to images depend only on the seed and the epoch.
    fn loader(&mut self) -> Result<Loader> {
        let recipe = self.setup.recipe;
        if let Cow::Owned(samples) = self.setup.dataset.train_in_epoch(self.progress.epoch) {
            self.train = samples.into();
        }
        let data = &recipe.data.config;
        let mut requests = requests(recipe, &self.train, self.progress.epoch)?;
        let requests = requests.split_off(self.progress.position.min(requests.len()));
        let config = LoaderConfig {
            image_size: self.setup.preprocessing.image_size,
            mask_size: self.output_size,
            fit: self.setup.preprocessing.fit,
            workers: data.threads(),
            ahead: 2 * recipe.trainer.step_samples(),
            images: self.setup.features.is_none(),
            keep_original: false,
            ..LoaderConfig::default()
        };
        Ok(Loader::new(
            self.train.clone(),
            self.setup.dataset.ignore,
            requests,
            config,
        ))
    }

    /// Validates, and saves the parameters if they are the best. Returns `None` if the observer stops the training meanwhile.
    fn validate(
        &mut self,
        complete: bool,
        total: usize,
        observer: &mut dyn Observer,
    ) -> Result<Option<EpochMetrics>> {
        let optim = &self.setup.recipe.optim;
        let last_step = self.progress.step.saturating_sub(1);
        let lr = self.progress.schedule.lr(optim, last_step, total);
        let mut epoch = self.progress.epoch_metrics(lr);
        if self.val.is_empty() {
            return Ok(Some(epoch));
        }
        let config = self
            .setup
            .eval_config()
            .with_kept(self.setup.features, self.prompt_states.as_ref());
        let sets = std::slice::from_ref(&self.val_prompts);
        let model = self.model().valid();
        let evaluation = match evaluate(&model, self.val, sets, &config, |done| {
            observer.evaluation(Split::Val, done, self.val.len())
        }) {
            Err(TrainError::Stopped) => return Ok(None),
            evaluation => evaluation?,
        };
        let metrics = evaluation.overall();
        epoch.val_loss = Some(evaluation.loss);
        epoch.val_dice = Some(metrics.dice.mean);
        epoch.val_iou = Some(metrics.iou.mean);
        epoch.val_hd95 = Some(metrics.hd95.mean);
        // An epoch cut short by `max_steps` does not replace a whole one, so that a
        // run with more steps continues as if it had not stopped.
        let best = self.progress.best_dice;
        if best.is_none_or(|best| complete && metrics.dice.mean > best) {
            self.save_adapter(&self.setup.folder.adapter())?;
            self.progress.best_dice = Some(metrics.dice.mean);
            self.progress.best_epoch = epoch.epoch;
        }
        Ok(Some(epoch))
    }

    /// Moves on to the next epoch: the schedule, early stopping and the counters.
    fn end_epoch(&mut self, epoch: &EpochMetrics) {
        let (optim, trainer) = (&self.setup.recipe.optim, &self.setup.recipe.trainer);
        let progress = &mut self.progress;
        if let (Some(loss), Some(dice)) = (epoch.val_loss, epoch.val_dice) {
            progress.schedule.end_of_epoch(optim, loss);
            let best = progress.patience_dice;
            if best.is_none_or(|best| dice > best + trainer.min_delta) {
                progress.patience_dice = Some(dice);
                progress.bad_epochs = 0;
            } else {
                progress.bad_epochs += 1;
            }
        }
        progress.epoch += 1;
        progress.position = 0;
        progress.loss_sum = 0.0;
    }

    fn save_adapter(&self, path: &Path) -> Result<()> {
        let adapter = AdapterFile {
            path: path.into(),
            tensors: weights::export(self.model(), |name| self.model().saves(name)),
            method: self.setup.recipe.method.config.clone(),
            base: Some(self.setup.base.clone()),
            image_size: Some(self.setup.preprocessing.image_size),
            window: self.setup.recipe.data.config.window,
            fit: self.setup.preprocessing.fit,
            inference: self.setup.inference.clone(),
            ..AdapterFile::default()
        };
        Ok(adapter.write(path)?)
    }

    fn save_checkpoint(&mut self, observer: &mut dyn Observer) -> Result<()> {
        // The checkpoint refers to these lines, so they must be on disk before it.
        let (bytes, digest) = self.metrics.sync()?;
        (self.progress.metrics_bytes, self.progress.metrics_digest) = (bytes, digest);
        self.count_time();
        let (moments, moment_steps) = self.optimizer.state();
        let checkpoint = Checkpoint {
            identity: self.setup.identity.clone(),
            progress: self.progress.clone(),
            throughput: self.throughput.clone(),
            parameters: weights::export(self.model(), |name| self.model().saves(name)),
            moments,
            moment_steps,
        };
        let path = self.setup.folder.checkpoint();
        checkpoint.write(&path)?;
        self.saved = Instant::now();
        observer.checkpoint(&path);
        Ok(())
    }
}
