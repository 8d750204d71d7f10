//! The training loop.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use vlsm_data::{Dataset, Example, Loader, LoaderConfig, Request, Sample};
use vlsm_models::contract::select;
use vlsm_models::predict::{PromptEncoder, PromptStates};
use vlsm_models::weights::{self, Gradients};
use vlsm_models::{AdapterFile, BaseIdentity, Preprocessing, SegmentationModel, Tokenizer};

use crate::checkpoint::{Checkpoint, Progress};
use crate::error::{Result, TrainError};
use crate::evaluate::{EvalConfig, PromptSet, evaluate};
use crate::feature_cache::{FeatureCache, encode_images};
use crate::loss::dice_ce;
use crate::optimizer::{self, Rules};
use crate::progress::ProgressLine;
use crate::recipe::Recipe;
use crate::run_folder::RunFolder;
use crate::targets::{Targets, distinct_images};

/// What a run is made of, besides the model.
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
    /// Features of training and validation images, where they are kept.
    pub features: Option<&'a FeatureCache>,
    /// Where results go.
    pub folder: &'a RunFolder,
}

impl Setup<'_> {
    /// How the run evaluates, in validation as in the test.
    pub(crate) fn eval_config(&self) -> EvalConfig<'_> {
        EvalConfig::new(
            self.recipe,
            self.dataset,
            self.tokenizer,
            self.preprocessing,
        )
    }
}

/// Time and pace of a training.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Seconds of each whole epoch that this process ran, validation included.
    pub epochs: Vec<f64>,
    /// Training images of this process.
    pub images: usize,
    /// Seconds they took.
    pub training: Duration,
    /// Seconds of these in which a step waited for the loader.
    pub waiting: Duration,
}

/// One line of `metrics.jsonl` for a step.
#[derive(Serialize)]
struct StepLine {
    step: usize,
    loss: f64,
    lr: f64,
    grad_norm: f64,
}

/// One line of `metrics.jsonl` for an epoch.
#[derive(Serialize)]
struct EpochLine {
    epoch: usize,
    step: usize,
    train_loss: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    val_loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    val_dice: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    val_iou: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    val_hd95: Option<f64>,
    lr: f64,
}

/// A model in training.
pub struct Trainer<'a, M> {
    setup: &'a Setup<'a>,
    /// `None` within a step, which changes parameters in place and must be alone in holding them.
    model: Option<M>,
    optimizer: Rules,
    progress: Progress,
    metrics: std::fs::File,
    train: Arc<[Sample]>,
    val: &'a [Sample],
    val_prompts: PromptSet,
    output_size: usize,
    pools: Vec<rayon::ThreadPool>,
    prompt_states: Option<PromptStates>,
    pace: Pace,
}

impl<'a, M: SegmentationModel> Trainer<'a, M> {
    /// A training from its start, or, with `resume`, from the run's last checkpoint if there is
    /// one. `model` has its trained parameters tracked for gradients.
    ///
    /// # Errors
    /// If a split is empty, a prompt is missing, or the run's files cannot be read or written.
    pub fn new(setup: &'a Setup<'a>, model: M, resume: bool) -> Result<Self> {
        let recipe = setup.recipe;
        let train = setup.dataset.require(vlsm_data::Split::Train)?;
        let val: &[Sample] = if recipe.trainer.validate {
            limited(&setup.dataset.val, recipe.data.eval_limit)
        } else {
            &[]
        };
        let output_size = model.output_size(setup.preprocessing.image_size)?;
        let mut optimizer = Rules::new(&recipe.optim);
        let mut progress = Progress::default();
        let mut model = model;
        let path = setup.folder.checkpoint();
        if resume && path.is_file() {
            let mut checkpoint = Checkpoint::read(&path)?;
            let (restored, misfits) =
                weights::import(model.clone(), checkpoint.parameters, |name| {
                    model.saves(name)
                });
            model = restored;
            if !misfits.is_empty() {
                return Err(TrainError::Run {
                    path,
                    message: format!("does not fit the recipe's model: {}", misfits.describe()),
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
            prompt_states: PromptStates::of(&model),
            model: Some(model),
            optimizer,
            progress,
            metrics,
            output_size,
            pools: pools(recipe.trainer.parts)?,
            pace: Pace::default(),
        })
    }

    /// Trains to the end of the recipe: its epochs, its steps, or early stopping.
    ///
    /// Leaves `adapter.safetensors` (the best epoch by validation Dice, or the last state where
    /// nothing is validated) and `adapter_last.safetensors`.
    ///
    /// # Errors
    /// If the loss is no longer a number, or a file cannot be read or written.
    pub fn fit(mut self) -> Result<(M, Progress, Pace)> {
        let trainer = &self.setup.recipe.trainer;
        let total = trainer.steps(self.train.len());
        let mut line = ProgressLine::new(total as u64);
        let mut encoders: Vec<PromptEncoder<'_>> = (0..trainer.parts)
            .map(|_| {
                PromptEncoder::training(self.setup.tokenizer)
                    .with_states(self.prompt_states.clone())
            })
            .collect();
        while self.progress.epoch < trainer.epochs
            && self.progress.step < total
            && !self.progress.stopped
        {
            self.run_epoch(total, &mut encoders, &mut line)?;
        }
        line.finish();
        self.save_adapter(&self.setup.folder.last_adapter())?;
        if self.progress.best_dice.is_none() {
            self.save_adapter(&self.setup.folder.adapter())?;
        }
        match self.model {
            Some(model) => Ok((model, self.progress, self.pace)),
            None => unreachable!("a step gives the model back"),
        }
    }

    fn model(&self) -> &M {
        match &self.model {
            Some(model) => model,
            None => unreachable!("a step gives the model back"),
        }
    }

    /// The rest of the current epoch, as far as `total` steps allow, and its validation.
    fn run_epoch(
        &mut self,
        total: usize,
        encoders: &mut [PromptEncoder<'_>],
        line: &mut ProgressLine,
    ) -> Result<()> {
        let started = Instant::now();
        let whole = self.progress.position == 0;
        let recipe = self.setup.recipe;
        let mut loader = self.loader()?;
        let mut rate = recipe.optim.lr;
        while self.progress.step < total {
            let step_started = Instant::now();
            let examples: Vec<Example> = loader
                .by_ref()
                .take(recipe.trainer.step_samples())
                .collect::<vlsm_data::Result<_>>()?;
            if examples.is_empty() {
                break;
            }
            self.pace.waiting += step_started.elapsed();
            rate = self.step(&examples, encoders, total)?;
            self.pace.training += step_started.elapsed();
            self.pace.images += examples.len();
            line.step(&self.progress, self.pace.images, self.pace.training);
            let every = recipe.trainer.checkpoint_every;
            if every > 0 && self.progress.step.is_multiple_of(every) {
                self.save_checkpoint()?;
            }
        }
        drop(loader);
        let complete = self.progress.position >= self.train.len();
        if !complete {
            // Stopped by `max_steps`: what follows is not part of the state, so that a run with
            // more steps goes on from here as if it had not stopped.
            self.save_checkpoint()?;
        }
        self.end_epoch(rate, complete, line)?;
        if complete {
            self.save_checkpoint()?;
            if whole {
                self.pace.epochs.push(started.elapsed().as_secs_f64());
            }
        }
        Ok(())
    }

    /// The samples of the current epoch that are still to come, in the epoch's order, each with
    /// its prompt. Order and prompts depend on the seed and the epoch alone.
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

    /// One optimiser step; gives its learning rate.
    fn step(
        &mut self,
        examples: &[Example],
        encoders: &mut [PromptEncoder<'_>],
        total: usize,
    ) -> Result<f64> {
        let optim = &self.setup.recipe.optim;
        let lr = self.progress.schedule.lr(optim, self.progress.step, total);
        let seed = self.setup.recipe.trainer.seed.rotate_left(32) ^ self.progress.step as u64;
        self.model = self.model.take().map(|model| model.begin_step(seed));
        let (loss, gradients) = self.gradients(examples, encoders)?;
        let norm = optimizer::global_norm(&gradients);
        if !loss.is_finite() || !norm.is_finite() {
            return Err(TrainError::Diverged {
                loss: if loss.is_finite() { norm } else { loss },
                step: self.progress.step + 1,
                epoch: self.progress.epoch + 1,
                lr,
            });
        }
        let gradients = if optim.clip > 0.0 {
            optimizer::clip(gradients, norm, optim.clip)
        } else {
            gradients
        };
        if let Some(model) = self.model.take() {
            let model = self.optimizer.step(model, gradients, lr);
            self.model = Some(model.end_step());
        }
        self.progress.step += 1;
        self.progress.position += examples.len();
        self.progress.loss_sum += loss * examples.len() as f64;
        self.write_line(&StepLine {
            step: self.progress.step,
            loss,
            lr,
            grad_norm: norm,
        })?;
        Ok(lr)
    }

    /// The loss over examples and its gradients, one batch at a time.
    fn gradients(
        &self,
        examples: &[Example],
        encoders: &mut [PromptEncoder<'_>],
    ) -> Result<(f64, Gradients)> {
        let mut loss = 0.0;
        let mut sum = Gradients::new();
        for batch in examples.chunks(self.setup.recipe.trainer.batch_size) {
            for (count, part) in self.parts(batch, encoders) {
                let (value, gradients) = part?;
                let share = count as f64 / examples.len() as f64;
                loss += value * share;
                if !value.is_finite() {
                    return Ok((value, Gradients::new()));
                }
                sum = if share == 1.0 {
                    gradients
                } else {
                    optimizer::added(sum, optimizer::scaled(gradients, share))
                };
            }
        }
        Ok((loss, sum))
    }

    /// The number of examples, the loss and the gradients of each part of a batch. Parts are computed side by side,
    /// each with its own threads: a small model's operations are too short to be shared out among cores one by one.
    fn parts(
        &self,
        batch: &[Example],
        encoders: &mut [PromptEncoder<'_>],
    ) -> Vec<(usize, Result<(f64, Gradients)>)> {
        let (setup, samples) = (self.setup, &self.train);
        let parts = batch.chunks(batch.len().div_ceil(encoders.len()));
        if self.pools.is_empty() {
            let work = parts.zip(encoders).map(|(part, encoder)| {
                let result = gradients(setup, self.model(), samples, part, encoder);
                (part.len(), result)
            });
            return work.collect();
        }
        std::thread::scope(|scope| {
            let work = parts.zip(encoders).zip(&self.pools);
            let started: Vec<_> = work
                .map(|((part, encoder), pool)| {
                    // Leaves of its own keep each part's tape apart from the others'.
                    let model = weights::update(self.model().clone(), |_, value| value);
                    let work = move || gradients(setup, &model, samples, part, encoder);
                    (part.len(), scope.spawn(|| pool.install(work)))
                })
                .collect();
            let finished = started.into_iter().map(|(count, thread)| {
                let result = thread.join();
                (
                    count,
                    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                )
            });
            finished.collect()
        })
    }

    /// Validates, and keeps the parameters if they are the best.
    fn end_epoch(&mut self, lr: f64, complete: bool, line: &mut ProgressLine) -> Result<()> {
        let recipe = self.setup.recipe;
        let mut epoch = EpochLine {
            epoch: self.progress.epoch + 1,
            step: self.progress.step,
            train_loss: self.progress.loss_sum / self.progress.position.max(1) as f64,
            val_loss: None,
            val_dice: None,
            val_iou: None,
            val_hd95: None,
            lr,
        };
        if !self.val.is_empty() {
            let config = EvalConfig {
                features: self.setup.features,
                prompt_states: self.prompt_states.as_ref(),
                ..self.setup.eval_config()
            };
            let sets = std::slice::from_ref(&self.val_prompts);
            let model = self.model().valid();
            let evaluation = evaluate(&model, self.val, sets, &config, |done| {
                line.validating(done, self.val.len());
            })?;
            let metrics = evaluation.overall();
            epoch.val_loss = Some(evaluation.loss);
            epoch.val_dice = Some(metrics.dice.mean);
            epoch.val_iou = Some(metrics.iou.mean);
            epoch.val_hd95 = Some(metrics.hd95.mean);
            // An epoch cut short by `max_steps` does not take the place of a whole one, so that a
            // run with more steps goes on as if it had not stopped.
            let best = self.progress.best_dice;
            if best.is_none_or(|best| complete && metrics.dice.mean > best) {
                self.save_adapter(&self.setup.folder.adapter())?;
                self.progress.best_dice = Some(metrics.dice.mean);
                self.progress.best_epoch = epoch.epoch;
            }
        }
        line.epoch(
            epoch.epoch,
            epoch.train_loss,
            epoch.val_loss,
            epoch.val_dice,
        );
        self.write_line(&epoch)?;
        if !complete {
            return Ok(());
        }
        if let (Some(loss), Some(dice)) = (epoch.val_loss, epoch.val_dice) {
            self.progress.schedule.end_of_epoch(&recipe.optim, loss);
            let better = self
                .progress
                .patience_dice
                .is_none_or(|best| dice > best + recipe.trainer.min_delta);
            if better {
                self.progress.patience_dice = Some(dice);
                self.progress.bad_epochs = 0;
            } else {
                self.progress.bad_epochs += 1;
            }
        }
        self.progress.epoch += 1;
        self.progress.position = 0;
        self.progress.loss_sum = 0.0;
        let trainer = &recipe.trainer;
        self.progress.stopped = trainer.patience > 0
            && self.progress.bad_epochs >= trainer.patience
            && self.progress.epoch >= trainer.min_epochs;
        Ok(())
    }

    fn write_line(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string(line).unwrap_or_default();
        text.push('\n');
        self.metrics
            .write_all(text.as_bytes())
            .map_err(|source| TrainError::Write {
                path: self.setup.folder.metrics(),
                source,
            })?;
        self.progress.metrics_bytes += text.len() as u64;
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

    fn save_checkpoint(&self) -> Result<()> {
        // What the checkpoint counts on must be on the disk before it is.
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
        checkpoint.write(&self.setup.folder.checkpoint())
    }
}

/// The loss of a part of a batch and its gradients; `samples` are what its examples are of.
fn gradients<M: SegmentationModel>(
    setup: &Setup<'_>,
    model: &M,
    samples: &[Sample],
    part: &[Example],
    encoder: &mut PromptEncoder<'_>,
) -> Result<(f64, Gradients)> {
    let prompts: Vec<&str> = part.iter().map(|one| one.prompt.as_str()).collect();
    let text = encoder.encode(model, &prompts)?;
    let (images, indices) = distinct_images(part, samples);
    let mut features = encode_images(model, &images, samples, setup.preprocessing, setup.features)?;
    if images.len() < part.len() {
        features = select(&features, &indices);
    }
    let logits = model.decode(&features, text)?;
    let Targets { target, valid } = Targets::new(part, &model.device());
    let profile = setup.recipe.method.config.profile;
    let loss = dice_ce(logits, target, valid, profile, setup.recipe.loss);
    let value = f64::from(loss.clone().inner().into_scalar::<f32>());
    if !value.is_finite() {
        return Ok((value, Gradients::new()));
    }
    let gradients = weights::take_gradients(model, &mut loss.backward());
    Ok((value, gradients))
}

/// A pool of threads for each part of a batch; none where a batch is not parted.
fn pools(parts: usize) -> Result<Vec<rayon::ThreadPool>> {
    if parts == 1 {
        return Ok(Vec::new());
    }
    let threads = (rayon::current_num_threads() / parts).max(1);
    let pool = |_| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| TrainError::Threads(error.to_string()))
    };
    (0..parts).map(pool).collect()
}

/// At most `limit` samples, the first ones.
pub(crate) fn limited(samples: &[Sample], limit: Option<usize>) -> &[Sample] {
    &samples[..limit.map_or(samples.len(), |limit| limit.min(samples.len()))]
}
