//! One optimiser step: the loss of its batches, the gradients, and the update of the parameters.

use vlsm_data::{Example, Sample};
use vlsm_models::SegmentationModel;
use vlsm_models::contract::select;
use vlsm_models::predict::PromptEncoder;
use vlsm_models::weights::{self, Gradients};

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
        let metrics = StepMetrics {
            step: self.progress.step,
            loss,
            lr,
            grad_norm: norm,
        };
        self.metrics.write(&metrics)?;
        Ok(metrics)
    }

    /// The loss over examples and its gradients, one batch at a time.
    fn gradients(
        &self,
        examples: &[Example],
        encoders: &[PromptEncoder<'_>],
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

    /// The number of examples, the loss and the gradients of each part of a batch. Parts run in parallel, each with its own
    /// threads, because the operations of a small model are too short to be split among cores.
    fn parts(
        &self,
        batch: &[Example],
        encoders: &[PromptEncoder<'_>],
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
                    // Each part has its own leaves, so that the tapes stay separate.
                    let model = weights::update_tracked(self.model().clone(), |_, value| value);
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
}

/// The loss of a part of a batch and its gradients. The examples refer to `samples` by index.
fn gradients<M: SegmentationModel>(
    setup: &Setup<'_>,
    model: &M,
    samples: &[Sample],
    part: &[Example],
    encoder: &PromptEncoder<'_>,
) -> Result<(f64, Gradients)> {
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
    let value = f64::from(loss.clone().inner().into_scalar::<f32>());
    if !value.is_finite() {
        return Ok((value, Gradients::new()));
    }
    let gradients = weights::take_gradients(model, &mut loss.backward());
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
