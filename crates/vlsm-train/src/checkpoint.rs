//! Checkpoints: everything a run needs to continue as if it had not been stopped.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vlsm_models::tensor_file::{self, HostTensor};

use crate::error::{Result, TrainError};
use crate::identity::Identity;
use crate::loss_scale::LossScale;
use crate::observer::{EpochMetrics, StepMetrics};
use crate::schedule::Schedule;

/// The state of a run without its tensors.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Optimiser steps taken.
    pub step: usize,
    /// Epochs completed.
    pub epoch: usize,
    /// Samples of the current epoch already used.
    pub position: usize,
    /// Sum over the current epoch's steps of the loss times the number of samples.
    pub loss_sum: f64,
    /// The schedule.
    pub schedule: Schedule,
    /// The best validation Dice so far.
    pub best_dice: Option<f64>,
    /// The epoch that reached it, from 1; 0 if there is none.
    pub best_epoch: usize,
    /// The Dice that early stopping compares with.
    pub patience_dice: Option<f64>,
    /// Epochs since then without a better one.
    pub bad_epochs: usize,
    /// The scale of the loss, where products are in half precision.
    pub loss_scale: LossScale,
    /// Bytes of `metrics.jsonl` that belong to this state.
    pub metrics_bytes: u64,
    /// Digest of these bytes (XXH3).
    pub metrics_digest: u64,
}

/// How long a training took, over all processes that worked on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Seconds of each epoch that was not interrupted, validation included.
    pub epochs: Vec<f64>,
    /// Images trained on.
    pub images: usize,
    /// The time that they took, validation excluded.
    pub training: Duration,
    /// The part of that time in which steps waited for images to be read and decoded.
    pub waiting: Duration,
    /// Seconds of everything, validation included.
    pub seconds: f64,
}

impl Progress {
    /// Mean loss over the samples of the current epoch so far.
    pub(crate) fn epoch_loss(&self) -> f64 {
        self.loss_sum / self.position.max(1) as f64
    }

    /// Refuses a loss or a norm of gradients, of the step after this state, that is not a number.
    pub(crate) fn expect_finite(&self, loss: f64, norm: f64, lr: f64) -> Result<()> {
        match loss.is_finite() && norm.is_finite() {
            true => Ok(()),
            false => Err(TrainError::Diverged {
                loss: if loss.is_finite() { norm } else { loss },
                step: self.step + 1,
                epoch: self.epoch + 1,
                lr,
            }),
        }
    }

    /// The line in `metrics.jsonl` of the epoch that these steps are of, before a validation; `lr` is the rate of its last step.
    pub(crate) fn epoch_metrics(&self, lr: f64) -> EpochMetrics {
        EpochMetrics {
            epoch: self.epoch + 1,
            step: self.step,
            train_loss: self.epoch_loss(),
            val_loss: None,
            val_dice: None,
            val_iou: None,
            val_hd95: None,
            lr,
        }
    }

    /// Counts a step over `samples`, and returns its line in `metrics.jsonl`.
    pub(crate) fn count_step(
        &mut self,
        samples: usize,
        loss: f64,
        grad_norm: f64,
        lr: f64,
    ) -> StepMetrics {
        self.step += 1;
        self.position += samples;
        self.loss_sum += loss * samples as f64;
        StepMetrics {
            step: self.step,
            loss,
            lr,
            grad_norm,
        }
    }
}

/// A checkpoint: the progress, the trained parameters and the optimiser's moments.
pub struct Checkpoint {
    /// What the run was begun on.
    pub identity: Identity,
    /// The counters.
    pub progress: Progress,
    /// Timing of the training so far.
    pub throughput: Throughput,
    /// Trained parameters by their published names.
    pub parameters: BTreeMap<String, HostTensor>,
    /// The optimiser's moments.
    pub moments: BTreeMap<String, HostTensor>,
    /// Number of steps that the moments are from.
    pub moment_steps: usize,
}

const IDENTITY: &str = "vlsm.identity";
const PROGRESS: &str = "vlsm.progress";
const THROUGHPUT: &str = "vlsm.throughput";
const MOMENT_STEPS: &str = "vlsm.moment_steps";
const PARAMETER: &str = "p.";

impl Checkpoint {
    /// Writes the checkpoint as one file, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written; an older checkpoint is then kept.
    pub fn write(self, path: &Path) -> Result<()> {
        let mut tensors = self.moments;
        for (name, tensor) in self.parameters {
            tensors.insert(format!("{PARAMETER}{name}"), tensor);
        }
        let failed = |error: serde_json::Error| TrainError::Write {
            path: path.into(),
            source: error.into(),
        };
        let identity = serde_json::to_string(&self.identity).map_err(failed)?;
        let progress = serde_json::to_string(&self.progress).map_err(failed)?;
        let throughput = serde_json::to_string(&self.throughput).map_err(failed)?;
        let metadata = BTreeMap::from([
            (IDENTITY.to_owned(), identity),
            (THROUGHPUT.to_owned(), throughput),
            (PROGRESS.to_owned(), progress),
            (MOMENT_STEPS.to_owned(), self.moment_steps.to_string()),
        ]);
        Ok(tensor_file::write_safetensors(path, &tensors, &metadata)?)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// If the file is malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let file = tensor_file::read_safetensors(path)?;
        let wrong = |message: String| TrainError::Run {
            path: path.into(),
            message,
        };
        let field = |name: &str| {
            file.metadata.get(name).ok_or_else(|| {
                wrong(format!(
                    "metadata `{name}` is missing; this is not a checkpoint of vlsm"
                ))
            })
        };
        let malformed =
            |name: &str, error: serde_json::Error| wrong(format!("metadata `{name}`: {error}"));
        let identity =
            serde_json::from_str(field(IDENTITY)?).map_err(|error| malformed(IDENTITY, error))?;
        let progress =
            serde_json::from_str(field(PROGRESS)?).map_err(|error| malformed(PROGRESS, error))?;
        let throughput = serde_json::from_str(field(THROUGHPUT)?)
            .map_err(|error| malformed(THROUGHPUT, error))?;
        let moment_steps = field(MOMENT_STEPS)?
            .parse()
            .map_err(|error| wrong(format!("metadata `{MOMENT_STEPS}`: {error}")))?;
        let mut parameters = BTreeMap::new();
        let mut moments = BTreeMap::new();
        for (name, tensor) in file.tensors {
            match name.strip_prefix(PARAMETER) {
                Some(name) => parameters.insert(name.to_owned(), tensor),
                None => moments.insert(name, tensor),
            };
        }
        Ok(Self {
            identity,
            progress,
            throughput,
            parameters,
            moments,
            moment_steps,
        })
    }
}
