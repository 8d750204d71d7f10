//! One optimiser step: the loss of its batches, the gradients, and the update of the parameters.

use burn::tensor::{Device, Tensor};
use vlsm_data::{Example, Sample};
use vlsm_models::contract::select;
use vlsm_models::predict::PromptEncoder;
use vlsm_models::weights::{self, Gradients, to_host};
use vlsm_models::{Precision, SegmentationModel, is_cpu, on_device, on_pool};

use super::Trainer;
use crate::error::{Result, TrainError};
use crate::feature_cache::encode_images;
use crate::loss::dice_ce;
use crate::observer::StepMetrics;
use crate::optimizer;
use crate::setup::Setup;
use crate::targets::{Targets, distinct_images};

impl<M: SegmentationModel> Trainer<'_, M> {
    /// One optimiser step.
    pub(super) fn step(
        &mut self,
        examples: &[Example],
        encoders: &[PromptEncoder<'_>],
        total: usize,
    ) -> Result<StepMetrics> {
        let optim = &self.setup.recipe.optim;
        let lr = self.progress.schedule.lr(optim, self.progress.step, total);
        let seed = self.setup.recipe.trainer.seed.rotate_left(32) ^ self.progress.step as u64;
        self.model = self.model.take().map(|model| model.begin_step(seed));
        let (loss, norm) = if is_cpu(&self.model().device()) {
            let (losses, gradients) = self.gradients(examples, encoders, 1.0)?;
            let loss = losses.iter().map(Share::read).sum();
            let norm = optimizer::global_norm(&gradients);
            self.progress.expect_finite(loss, norm, lr)?;
            self.update(optimizer::clip(gradients, norm, optim.clip), lr);
            (loss, norm)
        } else {
            let batch = self.setup.recipe.trainer.batch_size;
            let smaller = format!(
                "lower `trainer.batch_size` (now {batch}) and raise `trainer.accumulate` by as much"
            );
            let device = self.model().device();
            let work = || self.accelerated_step(examples, encoders, lr);
            let (loss, norm) = on_device(&device, &smaller, work)??;
            self.progress.expect_finite(loss, norm, lr)?;
            (loss, norm)
        };
        let samples = examples.len();
        let metrics = self.progress.count_step(samples, loss, norm, lr);
        self.metrics.write(&metrics)?;
        Ok(metrics)
    }

    /// Computes the gradients on an accelerator and updates the trained parameters. Returns the loss and the norm of the gradients
    /// before they were clipped.
    fn accelerated_step(
        &mut self,
        examples: &[Example],
        encoders: &[PromptEncoder<'_>],
        lr: f64,
    ) -> Result<(f64, f64)> {
        let clip = self.setup.recipe.optim.clip;
        if self.setup.recipe.model.precision == Precision::F16 {
            let (loss, norm, gradients) = self.scaled_gradients(examples, encoders)?;
            if norm.is_finite() {
                self.clipped_update(gradients, clip, lr);
            } else {
                self.model = self.model.take().map(SegmentationModel::end_step);
            }
            return Ok((loss, norm));
        }
        // One wait for the device, after all work of the step is queued.
        let (losses, gradients) = self.gradients(examples, encoders, 1.0)?;
        let norm = self.clipped_update(gradients, clip, lr);
        Ok(read_together(&losses, norm))
    }

    /// Updates the trained parameters.
    fn update(&mut self, gradients: Gradients, lr: f64) {
        if let Some(model) = self.model.take() {
            let model = on_pool(|| self.optimizer.step(model, gradients, lr));
            self.model = Some(model.end_step());
        }
    }

    /// Updates the trained parameters on an accelerator. Returns the norm of the gradients before they were clipped, `[1]`.
    fn clipped_update(&mut self, gradients: Gradients, max_norm: f64, lr: f64) -> Tensor<1> {
        let Some(model) = self.model.take() else {
            return Tensor::zeros([1], &Device::flex());
        };
        let (model, norm) = self.optimizer.clipped_step(model, gradients, max_norm, lr);
        self.model = Some(model.end_step());
        norm
    }

    /// The loss of a step, the norm of its gradients and the gradients, computed with a scaled loss: again and again with half the
    /// scale while they overflow.
    fn scaled_gradients(
        &mut self,
        examples: &[Example],
        encoders: &[PromptEncoder<'_>],
    ) -> Result<(f64, f64, Gradients)> {
        loop {
            let factor = self.progress.loss_scale.factor();
            let (losses, gradients) = self.gradients(examples, encoders, factor)?;
            let (norm, gradients) = optimizer::clip_on_device(gradients, 0.0);
            let (loss, norm) = read_together(&losses, norm);
            if norm.is_finite() {
                self.progress.loss_scale.count();
            } else if loss.is_finite() && self.progress.loss_scale.lower() {
                continue;
            }
            return Ok((loss, norm, gradients));
        }
    }

    /// The losses of the parts of a step and the gradients of their sum, one batch at a time. The backward pass starts from the loss
    /// times `scale`.
    fn gradients(
        &self,
        examples: &[Example],
        encoders: &[PromptEncoder<'_>],
        scale: f64,
    ) -> Result<(Vec<Share>, Gradients)> {
        let mut losses = Vec::new();
        let mut sum = Gradients::new();
        let size = self.setup.recipe.trainer.batch_size;
        for (number, batch) in examples.chunks(size).enumerate() {
            for (count, part) in self.parts(batch, number * size, encoders, scale) {
                let (loss, gradients) = part?;
                let share = count as f64 / examples.len() as f64;
                losses.push(Share { loss, share });
                let factor = share / scale;
                sum = if factor == 1.0 {
                    gradients
                } else {
                    optimizer::added(sum, optimizer::scaled(gradients, factor))
                };
            }
        }
        Ok((losses, sum))
    }

    /// The number of examples, the loss and the gradients of each part of a batch, whose first example is number `first` of the step.
    /// Parts run in parallel, each with its own
    /// threads, because the operations of a small model are too short to be split among cores.
    fn parts(
        &self,
        batch: &[Example],
        first: usize,
        encoders: &[PromptEncoder<'_>],
        scale: f64,
    ) -> Vec<(usize, Result<(Tensor<1>, Gradients)>)> {
        let (setup, samples) = (self.setup, &self.train);
        let size = batch.len().div_ceil(encoders.len());
        let parts = batch.chunks(size).enumerate();
        let parts = parts.map(|(number, part)| (first + number * size, part));
        if self.pools.is_empty() {
            let work = parts.zip(encoders).map(|((first, part), encoder)| {
                let model = self.model().clone().begin_part(first);
                let result = on_pool(|| gradients(setup, &model, samples, part, encoder, scale));
                (part.len(), result)
            });
            return work.collect();
        }
        std::thread::scope(|scope| {
            let work = parts.zip(encoders).zip(&self.pools);
            let started: Vec<_> = work
                .map(|(((first, part), encoder), pool)| {
                    // Each part has its own leaves, so that the tapes stay separate.
                    let model = weights::update_tracked(self.model().clone(), |_, value| value);
                    let model = model.begin_part(first);
                    let work = move || gradients(setup, &model, samples, part, encoder, scale);
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
}

/// The loss of a part of a step.
struct Share {
    /// `[1]`, without autodiff.
    loss: Tensor<1>,
    /// The part's share of the step's examples.
    share: f64,
}

impl Share {
    /// What the part contributes to the step's loss.
    fn read(&self) -> f64 {
        f64::from(self.loss.clone().into_scalar::<f32>()) * self.share
    }
}

/// The loss of a step and the norm of its gradients, read from the device at once.
fn read_together(losses: &[Share], norm: Tensor<1>) -> (f64, f64) {
    let mut tensors: Vec<Tensor<1>> = losses.iter().map(|part| part.loss.clone()).collect();
    tensors.push(norm);
    let values = to_host(Tensor::cat(tensors, 0));
    let loss = losses.iter().zip(&values);
    let loss = loss
        .map(|(part, value)| f64::from(*value) * part.share)
        .sum();
    (loss, values.last().copied().map_or(0.0, f64::from))
}

/// The loss of a part of a batch, `[1]`, and the gradients of `scale` times it. The examples refer to `samples` by index.
fn gradients<M: SegmentationModel>(
    setup: &Setup<'_>,
    model: &M,
    samples: &[Sample],
    part: &[Example],
    encoder: &PromptEncoder<'_>,
    scale: f64,
) -> Result<(Tensor<1>, Gradients)> {
    let prompts: Vec<&str> = part.iter().map(|example| example.prompt.as_str()).collect();
    let text = encoder.encode(model, &prompts)?;
    let (images, indices) = distinct_images(part, samples);
    let mut features = encode_images(model, &images, samples, setup.preprocessing, setup.features)?;
    if images.len() < part.len() {
        features = select(&features, &indices);
    }
    let logits = model.decode(&features, text)?;
    let Targets { target, valid } = Targets::new(part, &model.device());
    let profile = setup.recipe.method.config.profile();
    let loss = dice_ce(logits, target, valid, profile, setup.recipe.loss);
    let value = loss.clone().inner();
    let scaled = if scale == 1.0 { loss } else { loss * scale };
    let gradients = weights::take_gradients(model, &mut scaled.backward());
    Ok((value, gradients))
}

/// A thread pool for each part of a batch; none if batches are not split.
pub(super) fn pools(parts: usize) -> Result<Vec<rayon::ThreadPool>> {
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
