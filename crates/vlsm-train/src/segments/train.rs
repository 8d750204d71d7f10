//! The training loop of the stages.

use std::time::Instant;

use burn::tensor::{Int, Tensor, TensorData};
use vlsm_data::Sample;
use vlsm_models::methods::Tower;
use vlsm_models::segments::SegmentModel;
use vlsm_models::weights::{self, Gradients};
use vlsm_models::{Tokenizer, on_pool};

use super::embed::Crops;
use super::loss::{cross_entropy, triplet};
use super::negatives::Queries;
use super::recipe::{SegmentRecipe, StageConfig};
use crate::checkpoint::Progress;
use crate::error::{Result, TrainError};
use crate::identity::Identity;
use crate::observer::{Observer, StepMetrics};
use crate::run_folder::RunFolder;
use crate::schedule::Schedule;
use crate::steps::{Steps, order};

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

/// A training.
pub(super) struct Training<'a> {
    setup: &'a Setup<'a>,
    /// `None` during a step, which changes parameters in place.
    model: Option<SegmentModel>,
    steps: Steps<'a>,
}

impl<'a> Training<'a> {
    /// Starts a training, or continues it from the checkpoint in the run's folder if there is one.
    ///
    /// # Errors
    /// If the checkpoint is of another training, or a file cannot be read or written.
    pub(super) fn new(setup: &'a Setup<'a>, mut model: SegmentModel) -> Result<Self> {
        let mismatch = |began: &Identity| began.mismatch(setup.identity);
        let (mut steps, restored) = Steps::open(setup.folder, setup.identity, mismatch)?;
        if let Some(mut restored) = restored {
            let parameters = std::mem::take(&mut restored.parameters);
            model = model.load(parameters, &setup.folder.checkpoint())?;
            let Progress {
                epoch, position, ..
            } = steps.progress;
            // Between two stages the moments are those of the first, which are not continued.
            if let Some((_, stage, before)) = stage_of(setup.recipe, epoch)
                && (epoch, position) != (before, 0)
            {
                steps.start(&stage.optim);
                steps.restore(restored, &model.device());
            }
        }
        Ok(Self {
            setup,
            model: Some(model),
            steps,
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
        while let Some((index, stage, before)) = stage_of(recipe, self.steps.progress.epoch) {
            if self.steps.progress.epoch == before && self.steps.progress.position == 0 {
                self.steps.start(&stage.optim);
            }
            self.model = self.model.take().map(|model| model.for_training(index));
            let kept = self.keep(observer)?;
            while self.steps.progress.epoch < before + stage.epochs {
                self.epoch(stage, before, &kept, observer)?;
            }
        }
        let (progress, seconds) = self.steps.end();
        match self.model {
            Some(model) => Ok((model.for_inference(), progress, seconds)),
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
        let order = order(
            setup.samples.len(),
            setup.recipe.seed,
            self.steps.progress.epoch,
        );
        let steps = order.len().div_ceil(stage.batch_size);
        let first = (self.steps.progress.epoch - before) * steps;
        let rate = |step| Schedule::default().lr(&stage.optim, first + step, steps * stage.epochs);
        while self.steps.progress.position < order.len() {
            let started = Instant::now();
            let at = self.steps.progress.position;
            let batch = &order[at..order.len().min(at + stage.batch_size)];
            let lr = rate(at / stage.batch_size);
            let metrics = self.step(stage, batch, lr, kept)?;
            let flow = self.steps.report(metrics, batch.len(), started, observer);
            let every = setup.recipe.checkpoint_every;
            let due = every > 0 && self.steps.progress.step.is_multiple_of(every);
            if flow.is_break() || due {
                self.save_checkpoint(observer)?;
            }
            if flow.is_break() {
                return Err(TrainError::Stopped);
            }
        }
        let metrics = self.steps.end_epoch(rate(steps - 1))?;
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
        let result = self.gradients(stage, batch, kept)?;
        let Some(model) = self.model.take() else {
            unreachable!("a step returns the model");
        };
        let clip = stage.optim.clip;
        let (model, metrics) = self.steps.step(model, result, batch.len(), clip, lr)?;
        self.model = Some(model);
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

    fn save_checkpoint(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let model = self.model();
        let parameters = weights::export(model, |name| model.saves(name));
        self.steps.save(parameters, observer)
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
