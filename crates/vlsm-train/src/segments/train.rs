//! The training loop of the stages.

use std::time::Instant;

use burn::tensor::{Int, Tensor, TensorData};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use vlsm_data::Sample;
use vlsm_models::methods::Tower;
use vlsm_models::segments::SegmentModel;
use vlsm_models::weights::{self, Gradients};
use vlsm_models::{Tokenizer, on_pool};

use super::embed::Crops;
use super::loss::{cross_entropy, triplet};
use super::negatives::Queries;
use super::recipe::{SegmentRecipe, StageConfig};
use crate::checkpoint::{Checkpoint, Progress, Throughput};
use crate::error::{Result, TrainError};
use crate::identity::Identity;
use crate::metrics_file::MetricsFile;
use crate::observer::{EpochMetrics, Observer, StepMetrics, StepReport};
use crate::optimizer::{self, Optimizer};
use crate::run_folder::RunFolder;
use crate::schedule::Schedule;

/// What a training works with, apart from the model.
pub(super) struct Setup<'a> {
    pub(super) recipe: &'a SegmentRecipe,
    pub(super) folder: &'a RunFolder,
    pub(super) identity: &'a Identity,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) crops: Crops<'a>,
    /// Base classes and negatives.
    pub(super) queries: &'a Queries,
    /// The segments of base classes, and the query of each.
    pub(super) samples: &'a [&'a Sample],
    pub(super) truth: &'a [usize],
}

/// The embeddings of a stage that its training does not change.
struct Kept {
    segments: Option<Tensor<2>>,
    queries: Option<Tensor<2>>,
}

/// A training: the model, and everything that a checkpoint holds.
pub(super) struct Training<'a> {
    setup: &'a Setup<'a>,
    /// `None` during a step, which changes parameters in place.
    model: Option<SegmentModel>,
    optimizer: Optimizer,
    progress: Progress,
    throughput: Throughput,
    metrics: MetricsFile,
    started: Instant,
}

impl<'a> Training<'a> {
    /// Starts a training, or continues it from the checkpoint in the run's folder if there is one.
    ///
    /// # Errors
    /// If the checkpoint is of another training, or a file cannot be read or written.
    pub(super) fn new(setup: &'a Setup<'a>, model: SegmentModel) -> Result<Self> {
        let path = setup.folder.checkpoint();
        let (mut progress, mut throughput) = (Progress::default(), Throughput::default());
        let mut optimizer = Optimizer::new(&setup.recipe.stage1.optim);
        let mut model = model;
        if path.is_file() {
            let mut checkpoint = Checkpoint::read(&path)?;
            if let Some(message) = checkpoint.identity.mismatch(setup.identity) {
                let path = setup.folder.path.clone();
                return Err(TrainError::Run { path, message });
            }
            model = model.load(checkpoint.parameters, &path)?;
            progress = checkpoint.progress;
            throughput = checkpoint.throughput;
            // Between two stages the moments are those of the first, which are not continued.
            if let Some((_, stage, before)) = stage_of(setup.recipe, progress.epoch)
                && (progress.epoch, progress.position) != (before, 0)
            {
                optimizer = Optimizer::new(&stage.optim);
                let steps = checkpoint.moment_steps;
                optimizer.restore(&mut checkpoint.moments, steps, &model.device());
            }
        }
        let (bytes, digest) = (progress.metrics_bytes, progress.metrics_digest);
        Ok(Self {
            metrics: MetricsFile::open(setup.folder.metrics(), bytes, digest)?,
            setup,
            model: Some(model),
            optimizer,
            progress,
            throughput,
            started: Instant::now(),
        })
    }

    /// Trains all stages. Returns the model, the steps taken and the seconds that they took.
    ///
    /// # Errors
    /// If the loss is no longer a number, a file cannot be read or written, or `observer` stops the training.
    pub(super) fn fit(
        mut self,
        observer: &mut dyn Observer,
    ) -> Result<(SegmentModel, Progress, f64)> {
        let recipe = self.setup.recipe;
        let per_epoch = |stage: &StageConfig| self.setup.samples.len().div_ceil(stage.batch_size);
        let steps = recipe.stages();
        observer.start(steps.map(|stage| stage.epochs * per_epoch(stage)).sum());
        while let Some((index, stage, before)) = stage_of(recipe, self.progress.epoch) {
            if self.progress.epoch == before && self.progress.position == 0 {
                self.optimizer = Optimizer::new(&stage.optim);
            }
            self.model = self.model.take().map(|model| model.for_training(index));
            let kept = self.keep(observer)?;
            while self.progress.epoch < before + stage.epochs {
                self.epoch(stage, before, &kept, observer)?;
            }
        }
        self.count_time();
        match self.model {
            Some(model) => Ok((
                model.for_inference(),
                self.progress,
                self.throughput.seconds,
            )),
            None => unreachable!("a step returns the model"),
        }
    }

    fn model(&self) -> &SegmentModel {
        match &self.model {
            Some(model) => model,
            None => unreachable!("a step returns the model"),
        }
    }

    /// The embeddings that the current stage does not change.
    fn keep(&self, observer: &mut dyn Observer) -> Result<Kept> {
        let (setup, model) = (self.setup, self.model());
        let total = setup.samples.len();
        let segments = match model.trains_tower(Tower::Vision) {
            true => None,
            false => Some(setup.crops.embed(model, setup.samples, |done| {
                observer.evaluation(vlsm_data::Split::Train, done, total)
            })?),
        };
        let queries = match model.trains_tower(Tower::Text) {
            true => None,
            false => Some(self.queries()?),
        };
        Ok(Kept { segments, queries })
    }

    fn queries(&self) -> Result<Tensor<2>> {
        let setup = self.setup;
        let templates = setup.recipe.templates.texts();
        let texts = &setup.queries.texts;
        Ok((self.model()).embed_names(setup.tokenizer, texts, &templates)?)
    }

    /// The rest of the current epoch of a stage, which has `before` epochs before it.
    fn epoch(
        &mut self,
        stage: &StageConfig,
        before: usize,
        kept: &Kept,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let setup = self.setup;
        let order = order(setup.samples.len(), setup.recipe.seed, self.progress.epoch);
        let steps = order.len().div_ceil(stage.batch_size);
        let first = (self.progress.epoch - before) * steps;
        let rate = |step| Schedule::default().lr(&stage.optim, first + step, steps * stage.epochs);
        while self.progress.position < order.len() {
            let started = Instant::now();
            let at = self.progress.position;
            let batch = &order[at..order.len().min(at + stage.batch_size)];
            let lr = rate(at / stage.batch_size);
            let metrics = self.step(stage, batch, lr, kept)?;
            self.throughput.training += started.elapsed();
            self.throughput.images += batch.len();
            let flow = observer.step(&StepReport {
                metrics,
                epoch: self.progress.epoch + 1,
                epoch_loss: self.progress.epoch_loss(),
                images: self.throughput.images,
                training: self.throughput.training,
            });
            let every = setup.recipe.checkpoint_every;
            let due = every > 0 && self.progress.step.is_multiple_of(every);
            if flow.is_break() || due {
                self.save_checkpoint(observer)?;
            }
            if flow.is_break() {
                return Err(TrainError::Stopped);
            }
        }
        let metrics = EpochMetrics {
            epoch: self.progress.epoch + 1,
            step: self.progress.step,
            train_loss: self.progress.epoch_loss(),
            val_loss: None,
            val_dice: None,
            val_iou: None,
            val_hd95: None,
            lr: rate(steps - 1),
        };
        self.metrics.write(&metrics)?;
        self.progress.epoch += 1;
        self.progress.position = 0;
        self.progress.loss_sum = 0.0;
        self.save_checkpoint(observer)?;
        match observer.epoch(&metrics).is_break() {
            true => Err(TrainError::Stopped),
            false => Ok(()),
        }
    }

    fn step(
        &mut self,
        stage: &StageConfig,
        batch: &[usize],
        lr: f64,
        kept: &Kept,
    ) -> Result<StepMetrics> {
        let (loss, gradients) = self.gradients(stage, batch, kept)?;
        let norm = optimizer::global_norm(&gradients);
        self.progress.expect_finite(loss, norm, lr)?;
        let gradients = optimizer::clip(gradients, norm, stage.optim.clip);
        if let Some(model) = self.model.take() {
            self.model = Some(on_pool(|| self.optimizer.step(model, gradients, lr)));
        }
        let metrics = self.progress.count_step(batch.len(), loss, norm, lr);
        self.metrics.write(&metrics)?;
        Ok(metrics)
    }

    /// The mean loss of segments, by their indices, and its gradients.
    fn gradients(
        &self,
        stage: &StageConfig,
        batch: &[usize],
        kept: &Kept,
    ) -> Result<(f64, Gradients)> {
        let (setup, model) = (self.setup, self.model());
        let segments = match &kept.segments {
            Some(all) => {
                let rows: Vec<i64> = batch.iter().map(|row| *row as i64).collect();
                let rows = TensorData::new(rows, [batch.len()]);
                all.clone()
                    .select(0, Tensor::<1, Int>::from_data(rows, &model.device()))
            }
            None => {
                let samples: Vec<&Sample> = batch.iter().map(|at| setup.samples[*at]).collect();
                model.embed_crops(setup.crops.batch(model, &samples)?)
            }
        };
        let queries = match &kept.queries {
            Some(queries) => queries.clone(),
            None => self.queries()?,
        };
        let truth: Vec<usize> = batch.iter().map(|at| setup.truth[*at]).collect();
        Ok(on_pool(|| {
            let cosines = segments.matmul(queries.transpose());
            let mut loss = cross_entropy(cosines.clone(), model.scale(), &truth);
            if stage.triplet > 0.0 {
                loss = loss + triplet(cosines, &truth, setup.queries, stage.margin) * stage.triplet;
            }
            let value = f64::from(loss.clone().inner().into_scalar::<f32>());
            (value, weights::take_gradients(model, &mut loss.backward()))
        }))
    }

    /// Adds the time since the last call to that of the training.
    fn count_time(&mut self) {
        let now = Instant::now();
        self.throughput.seconds += (now - self.started).as_secs_f64();
        self.started = now;
    }

    fn save_checkpoint(&mut self, observer: &mut dyn Observer) -> Result<()> {
        // The checkpoint refers to these lines, so they must be on disk before it.
        let (bytes, digest) = self.metrics.sync()?;
        (self.progress.metrics_bytes, self.progress.metrics_digest) = (bytes, digest);
        self.count_time();
        let (moments, moment_steps) = self.optimizer.state();
        let model = self.model();
        let checkpoint = Checkpoint {
            identity: self.setup.identity.clone(),
            progress: self.progress.clone(),
            throughput: self.throughput.clone(),
            parameters: weights::export(model, |name| model.saves(name)),
            moments,
            moment_steps,
        };
        let path = self.setup.folder.checkpoint();
        checkpoint.write(&path)?;
        observer.checkpoint(&path);
        Ok(())
    }
}

/// The stage of an epoch, counted over all stages: its index, the stage, and the epochs before it.
fn stage_of(recipe: &SegmentRecipe, epoch: usize) -> Option<(usize, &StageConfig, usize)> {
    let mut before = 0;
    recipe.stages().enumerate().find_map(|(index, stage)| {
        let first = before;
        before += stage.epochs;
        (epoch < before).then_some((index, stage, first))
    })
}

/// The order of an epoch's segments, which depends only on the seed and the epoch, so that a resumed epoch is the same.
fn order(count: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch as u64 + 1);
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut rng);
    order
}
