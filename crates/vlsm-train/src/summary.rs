//! The result of a run.

use std::path::PathBuf;

use serde::Serialize;

use crate::evaluate::SemanticMetrics;
use crate::evaluate::{Metrics, SampleScores, Threshold};
use crate::identity::Identity;

/// The result of a run: `summary.json`.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    /// The base's name.
    pub base: String,
    /// The base's commit on the hub, if it comes from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_revision: Option<String>,
    /// The base's weights and the samples.
    pub identity: Identity,
    /// Epochs completed.
    pub epochs: usize,
    /// Optimiser steps taken.
    pub steps: usize,
    /// The epoch with the best validation Dice, from 1; 0 if nothing was validated.
    pub best_epoch: usize,
    /// That Dice.
    pub best_val_dice: Option<f64>,
    /// The threshold of masks with the best Dice on the validation split, which the adapter file also holds. The other metrics are
    /// those at one half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
    /// Metrics on the test split of the best epoch's parameters.
    pub test: Option<Metrics>,
    /// The name of the prompts that they were computed under.
    pub test_prompt: Option<String>,
    /// Metrics of whole-image labels on the test split, if the masks hold class ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticMetrics>,
    /// Number of trained parameters.
    pub trainable_parameters: usize,
    /// Number of all parameters.
    pub total_parameters: usize,
    /// Mean seconds of an epoch, validation included, over the epochs that were not interrupted.
    pub seconds_per_epoch: Option<f64>,
    /// Seconds of each of these epochs. With the feature cache, the first takes longer.
    pub epoch_seconds: Vec<f64>,
    /// Training images per second, without validation.
    pub images_per_second: Option<f64>,
    /// Share of the training time in which steps waited for images to be read and decoded.
    pub waiting_share: Option<f64>,
    /// Peak resident memory of this process in bytes, where the system reports it (Linux).
    pub peak_memory_bytes: Option<u64>,
    /// The metrics of every test sample under every prompt set, the recipe's first; none if nothing was tested.
    #[serde(skip)]
    pub rows: Vec<SampleScores>,
    /// Seconds that training took, in all processes up to their last checkpoint.
    pub seconds: f64,
    /// The report, unless it could not be written.
    #[serde(skip)]
    pub report: Option<PathBuf>,
}

impl RunSummary {
    /// The metrics on the test split under each of the prompt sets after the first.
    pub fn other_prompts(&self) -> Vec<(&str, Metrics)> {
        let mut sets: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !sets.contains(&&*row.set) {
                sets.push(&row.set);
            }
        }
        let metrics = |set| Metrics::of(self.rows.iter().filter(|row| row.set == set));
        sets.into_iter()
            .skip(1)
            .map(|set| (set, metrics(set)))
            .collect()
    }
}
