//! The training loop.

mod step;

use std::borrow::Cow;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use vlsm_data::{Example, Loader, LoaderConfig, Request, Sample, Split};
use vlsm_models::predict::{PromptEncoder, PromptStates};
use vlsm_models::weights;
use vlsm_models::{AdapterFile, SegmentationModel};

use crate::checkpoint::{Checkpoint, Progress};
use crate::error::{Result, TrainError};
use crate::evaluate::{PromptSet, evaluate};
use crate::observer::{EpochMetrics, Observer, StepReport};
use crate::optimizer::Optimizer;
use crate::setup::Setup;

/// Timing of a training.
#[derive(Debug, Clone, Default)]
pub struct Throughput {
    /// Seconds of each whole epoch that this process ran, validation included.
    pub epochs: Vec<f64>,
    /// Images that this process trained on.
    pub images: usize,
    /// The time that they took, validation excluded.
    pub training: Duration,
    /// The part of that time in which steps waited for images to be read and decoded.
    pub waiting: Duration,
}

/// A model in training.
pub struct Trainer<'a, M> {
    setup: &'a Setup<'a>,
    /// `None` during a step. The step changes parameters in place, so it must hold the only reference to them.
    model: Option<M>,
    optimizer: Optimizer,
    progress: Progress,
    metrics: std::fs::File,
    train: Arc<[Sample]>,
    val: &'a [Sample],
    val_prompts: PromptSet,
    output_size: usize,
    pools: Vec<rayon::ThreadPool>,
    prompt_states: Option<PromptStates>,
    throughput: Throughput,
}

impl<'a, M: SegmentationModel> Trainer<'a, M> {
    /// Starts a training. With `resume`, continues from the run's last checkpoint if there is one.
    /// Gradients must be tracked for the trained parameters of `model`.
    ///
    /// # Errors
    /// If a split is empty, a prompt is missing, or the run's files cannot be read or written.
    pub fn new(setup: &'a Setup<'a>, model: M, resume: bool) -> Result<Self> {
        let recipe = setup.recipe;
        let train = setup.dataset.require(Split::Train)?;
        let val: &[Sample] = if recipe.trainer.validate {
            setup.samples(Split::Val)
        } else {
            &[]
        };
        let output_size = model.output_size(setup.preprocessing.image_size)?;
        let mut optimizer = Optimizer::new(&recipe.optim);
        let mut progress = Progress::default();
        let mut model = model;
        let path = setup.folder.checkpoint();
        if resume && path.is_file() {
            let mut checkpoint = Checkpoint::read(&path)?;
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
        }
        let metrics = setup.folder.open_metrics(progress.metrics_bytes)?;
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
            output_size,
            pools: step::pools(recipe.trainer.data_parallel)?,
            throughput: Throughput::default(),
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
        while self.progress.epoch < trainer.epochs && !self.progress.stopped {
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
        self.save_adapter(&self.setup.folder.last_adapter())?;
        if self.progress.best_dice.is_none() {
            self.save_adapter(&self.setup.folder.adapter())?;
        }
        match self.model {
            Some(model) => Ok((model, self.progress, self.throughput)),
            None => unreachable!("a step returns the model"),
        }
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
            let every = recipe.trainer.checkpoint_every;
            if flow.is_break() || every > 0 && self.progress.step.is_multiple_of(every) {
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
        self.write_line(&metrics)?;
        if complete {
            self.end_epoch(&metrics);
            self.save_checkpoint(observer)?;
            if whole {
                let seconds = started.elapsed().as_secs_f64();
                self.throughput.epochs.push(seconds);
            }
        }
        Ok(observer.epoch(&metrics))
    }

    /// The remaining samples of the current epoch in the epoch's order, each with its prompt. Order
    /// and prompts depend only on the seed and the epoch.
    fn loader(&mut self) -> Result<Loader> {
        let recipe = self.setup.recipe;
        if let Cow::Owned(samples) = self.setup.dataset.train_in_epoch(self.progress.epoch) {
            self.train = samples.into();
        }
        let data = &recipe.data.config;
        let mut rng = ChaCha8Rng::seed_from_u64(recipe.trainer.seed);
        rng.set_stream(self.progress.epoch as u64 + 1);
        let mut order: Vec<usize> = (0..self.train.len()).collect();
        if data.shuffle {
            order.shuffle(&mut rng);
        }
        let mut requests = Vec::with_capacity(order.len());
        for sample in order {
            let prompt = self.train[sample].pick_prompt(&data.prompt, &mut rng)?;
            requests.push(Request { sample, prompt });
        }
        let requests = requests.split_off(self.progress.position.min(requests.len()));
        let config = LoaderConfig {
            image_size: self.setup.preprocessing.image_size,
            mask_size: self.output_size,
            workers: data.workers,
            ahead: 2 * recipe.trainer.step_samples(),
            images: self.setup.features.is_none(),
            keep_original: false,
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
        let mut epoch = EpochMetrics {
            epoch: self.progress.epoch + 1,
            step: self.progress.step,
            train_loss: self.progress.epoch_loss(),
            val_loss: None,
            val_dice: None,
            val_iou: None,
            val_hd95: None,
            lr: self.progress.schedule.lr(optim, last_step, total),
        };
        if self.val.is_empty() {
            return Ok(Some(epoch));
        }
        let config = self
            .setup
            .eval_config()
            .with_kept(self.setup.features, self.prompt_states.as_ref());
        let sets = std::slice::from_ref(&self.val_prompts);
        let model = self.model().valid();
        let mut stop = false;
        let evaluation = evaluate(&model, self.val, sets, &config, |done| {
            let flow = observer.evaluation(Split::Val, done, self.val.len());
            stop |= flow.is_break();
        })?;
        if stop {
            return Ok(None);
        }
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
        progress.stopped = trainer.patience > 0
            && progress.bad_epochs >= trainer.patience
            && progress.epoch >= trainer.min_epochs;
    }

    /// Appends a line to `metrics.jsonl`.
    fn write_line(&mut self, line: &impl Serialize) -> Result<()> {
        let path = self.setup.folder.metrics();
        let failed = |source| TrainError::Write { path, source };
        let mut write = || {
            let mut text = serde_json::to_string(line)?;
            text.push('\n');
            self.metrics.write_all(text.as_bytes())?;
            Ok(text.len() as u64)
        };
        self.progress.metrics_bytes += write().map_err(failed)?;
        Ok(())
    }

    fn save_adapter(&self, path: &Path) -> Result<()> {
        let adapter = AdapterFile {
            path: path.into(),
            tensors: weights::export(self.model(), |name| self.model().saves(name)),
            method: self.setup.recipe.method.config.clone(),
            base: Some(self.setup.base.clone()),
            image_size: Some(self.setup.preprocessing.image_size),
        };
        Ok(adapter.write(path)?)
    }

    fn save_checkpoint(&self, observer: &mut dyn Observer) -> Result<()> {
        // The checkpoint refers to these lines, so they must be on disk before it.
        self.metrics
            .sync_data()
            .map_err(|source| TrainError::Write {
                path: self.setup.folder.metrics(),
                source,
            })?;
        let (moments, moment_steps) = self.optimizer.state();
        let checkpoint = Checkpoint {
            progress: self.progress.clone(),
            parameters: weights::export(self.model(), |name| self.model().saves(name)),
            moments,
            moment_steps,
        };
        let path = self.setup.folder.checkpoint();
        checkpoint.write(&path)?;
        observer.checkpoint(&path);
        Ok(())
    }
}
