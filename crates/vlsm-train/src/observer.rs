//! Watching a training, and stopping it.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use vlsm_data::Split;

/// Is notified of what a training does and may stop it.
///
/// Every method has a default that does nothing, so an observer implements what it needs; `()` observes nothing. Methods are
/// called on the thread that trains.
///
/// If a method returns [`ControlFlow::Break`], the training writes a checkpoint and ends with
/// [`TrainError::Stopped`](crate::TrainError::Stopped); a stop during an evaluation takes effect at its end. A resumed training
/// gives the same numbers, bit for bit, as one that was not stopped.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use vlsm_train::{Observer, StepReport};
///
/// /// Stops after a number of steps.
/// struct Budget(usize);
///
/// impl Observer for Budget {
///     fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
///         if report.metrics.step < self.0 {
///             ControlFlow::Continue(())
///         } else {
///             ControlFlow::Break(())
///         }
///     }
/// }
/// ```
pub trait Observer {
    /// A training starts or is resumed. It has at most `steps` optimiser steps, including those before the checkpoint.
    fn start(&mut self, steps: usize) {
        let _ = steps;
    }

    /// An optimiser step is done.
    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let _ = report;
        ControlFlow::Continue(())
    }

    /// `done` of `total` samples of a split are evaluated, in the validation after an epoch or in the evaluation after the
    /// training.
    fn evaluation(&mut self, split: Split, done: usize, total: usize) -> ControlFlow<()> {
        let _ = (split, done, total);
        ControlFlow::Continue(())
    }

    /// An epoch is done, its validation included.
    fn epoch(&mut self, metrics: &EpochMetrics) -> ControlFlow<()> {
        let _ = metrics;
        ControlFlow::Continue(())
    }

    /// A checkpoint has been written to `path`.
    fn checkpoint(&mut self, path: &Path) {
        let _ = path;
    }

    /// A study's next run begins; `text` is a message for the user as in [`message`](Self::message). What is freed here does not
    /// count as the run's memory.
    fn run(&mut self, text: &str) {
        self.message(text);
    }

    /// A message for the user in one line, such as a study's run that failed. Warnings go to the log ([`tracing`]).
    fn message(&mut self, text: &str) {
        let _ = text;
    }
}

impl Observer for () {}

/// A step's line in `metrics.jsonl`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepMetrics {
    /// The step, from 1.
    pub step: usize,
    /// The loss before the step, averaged over its samples.
    pub loss: f64,
    /// The learning rate.
    pub lr: f64,
    /// Global norm of the gradients before clipping.
    pub grad_norm: f64,
}

/// Report to an observer after a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// The step's line in `metrics.jsonl`.
    pub metrics: StepMetrics,
    /// The epoch it belongs to, from 1.
    pub epoch: usize,
    /// Mean loss over the samples of this epoch so far.
    pub epoch_loss: f64,
    /// Images that this process has trained on.
    pub images: usize,
    /// The time that they took, validation excluded.
    pub training: Duration,
}

/// An epoch's line in `metrics.jsonl`. Values of the validation split are `None` if nothing is validated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EpochMetrics {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Its last step, from 1.
    pub step: usize,
    /// Mean loss over the epoch's samples, each before its step.
    pub train_loss: f64,
    /// Mean loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
    /// Mean Dice, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_dice: Option<f64>,
    /// Mean intersection over union, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_iou: Option<f64>,
    /// Mean 95th percentile of the Hausdorff distance, in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_hd95: Option<f64>,
    /// The learning rate of the last step.
    pub lr: f64,
}
