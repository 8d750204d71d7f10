//! The steps of a training that keeps its state in a run's folder: optimiser, counters, metrics and checkpoints.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use vlsm_models::on_pool;
use vlsm_models::tensor_file::HostTensor;
use vlsm_models::weights::Gradients;

use crate::checkpoint::{Checkpoint, Progress, Throughput};
use crate::error::Result;
use crate::identity::Identity;
use crate::metrics_file::MetricsFile;
use crate::observer::{EpochMetrics, Observer, StepMetrics, StepReport};
use crate::optimizer::{self, Optimizer};
use crate::recipe::OptimConfig;
use crate::run_folder::RunFolder;

/// Everything of a training but its model and its data.
pub(crate) struct Steps<'a> {
    folder: &'a RunFolder,
    identity: &'a Identity,
    optimizer: Optimizer,
    pub(crate) progress: Progress,
    throughput: Throughput,
    metrics: MetricsFile,
    started: Instant,
}

/// What a checkpoint has of the model and the optimiser.
pub(crate) struct Restored {
    pub(crate) parameters: BTreeMap<String, HostTensor>,
    pub(crate) moments: BTreeMap<String, HostTensor>,
    pub(crate) moment_steps: usize,
}

impl<'a> Steps<'a> {
    /// Before the first step, or after those of the checkpoint in the run's folder if there is one.
    ///
    /// # Errors
    /// If the checkpoint is of another training, which `mismatch` of its identity says, or a file cannot be read or written.
    pub(crate) fn open(
        folder: &'a RunFolder,
        identity: &'a Identity,
        mismatch: impl Fn(&Identity) -> Option<String>,
    ) -> Result<(Self, Option<Restored>)> {
        let path = folder.checkpoint();
        let (mut progress, mut throughput) = (Progress::default(), Throughput::default());
        let mut restored = None;
        if path.is_file() {
            let checkpoint = Checkpoint::read(&path)?;
            if let Some(message) = mismatch(&checkpoint.identity) {
                return Err(folder.error(message));
            }
            (progress, throughput) = (checkpoint.progress, checkpoint.throughput);
            restored = Some(Restored {
                parameters: checkpoint.parameters,
                moments: checkpoint.moments,
                moment_steps: checkpoint.moment_steps,
            });
        }
        let (bytes, digest) = (progress.metrics_bytes, progress.metrics_digest);
        let steps = Self {
            metrics: MetricsFile::open(folder.metrics(), bytes, digest)?,
            folder,
            identity,
            optimizer: Optimizer::new(&OptimConfig::default()),
            progress,
            throughput,
            started: Instant::now(),
        };
        Ok((steps, restored))
    }

    /// Starts a new optimiser.
    pub(crate) fn start(&mut self, optim: &OptimConfig) {
        self.optimizer = Optimizer::new(optim);
    }

    /// Gives the optimiser the moments of the checkpoint.
    pub(crate) fn restore(&mut self, mut restored: Restored, device: &Device) {
        let steps = restored.moment_steps;
        (self.optimizer).restore(&mut restored.moments, steps, device);
    }

    /// A step of a model that returned a loss and gradients for `samples`.
    ///
    /// # Errors
    /// If the loss or the gradients' norm is no number, or the metrics cannot be written.
    pub(crate) fn step<M: Module + Send>(
        &mut self,
        model: M,
        (loss, gradients): (f64, Gradients),
        samples: usize,
        clip: f64,
        lr: f64,
    ) -> Result<(M, StepMetrics)> {
        let norm = optimizer::global_norm(&gradients);
        self.progress.expect_finite(loss, norm, lr)?;
        let gradients = optimizer::clip(gradients, norm, clip);
        let model = on_pool(|| self.optimizer.step(model, gradients, lr));
        let metrics = self.progress.count_step(samples, loss, norm, lr);
        self.metrics.write(&metrics)?;
        Ok((model, metrics))
    }

    /// Notifies the observer of a step over `samples` that began at `started`.
    pub(crate) fn report(
        &mut self,
        metrics: StepMetrics,
        samples: usize,
        started: Instant,
        observer: &mut dyn Observer,
    ) -> ControlFlow<()> {
        self.throughput.training += started.elapsed();
        self.throughput.images += samples;
        observer.step(&StepReport {
            metrics,
            epoch: self.progress.epoch + 1,
            epoch_loss: self.progress.epoch_loss(),
            images: self.throughput.images,
            training: self.throughput.training,
        })
    }

    /// Ends an epoch without a validation; `lr` is the rate of its last step.
    ///
    /// # Errors
    /// If the metrics cannot be written.
    pub(crate) fn end_epoch(&mut self, lr: f64) -> Result<EpochMetrics> {
        let metrics = self.progress.epoch_metrics(lr);
        self.metrics.write(&metrics)?;
        self.progress.epoch += 1;
        self.progress.position = 0;
        self.progress.loss_sum = 0.0;
        Ok(metrics)
    }

    /// Writes a checkpoint with the trained parameters.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn save(
        &mut self,
        parameters: BTreeMap<String, HostTensor>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        // The checkpoint refers to these lines, so they must be on disk before it.
        let (bytes, digest) = self.metrics.sync()?;
        (self.progress.metrics_bytes, self.progress.metrics_digest) = (bytes, digest);
        let now = Instant::now();
        self.throughput.seconds += (now - self.started).as_secs_f64();
        self.started = now;
        let (moments, moment_steps) = self.optimizer.state();
        let checkpoint = Checkpoint {
            identity: self.identity.clone(),
            progress: self.progress.clone(),
            throughput: self.throughput.clone(),
            parameters,
            moments,
            moment_steps,
        };
        let path = self.folder.checkpoint();
        checkpoint.write(&path)?;
        observer.checkpoint(&path);
        Ok(())
    }

    /// The steps, and the seconds up to the last checkpoint, so that a complete run that is resumed has the same.
    pub(crate) fn end(self) -> (Progress, f64) {
        (self.progress, self.throughput.seconds)
    }
}

/// The order of an epoch's samples, which depends only on the seed and the epoch, so that a resumed epoch is the same.
pub(crate) fn order(count: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch as u64 + 1);
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut rng);
    order
}
