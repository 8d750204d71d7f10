//! Scores of samples, and their means.

use serde::Serialize;
use vlsm_data::Summary;

/// The scores of one sample under one prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleScores {
    /// The sample.
    pub sample: String,
    /// The sample's group ([`Sample::group`](vlsm_data::Sample::group)), such as a class; empty if there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The prompt set.
    pub set: String,
    /// The prompt.
    pub prompt: String,
    /// Dice.
    pub dice: f64,
    /// Intersection over union.
    pub iou: f64,
    /// 95th percentile of the Hausdorff distance, in pixels.
    pub hd95: f64,
    /// Whether exactly one of prediction and truth is empty, so that `hd95` is the diagonal.
    pub one_empty: bool,
}

/// Mean and standard deviation of the metrics over samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metrics {
    /// Number of samples.
    pub samples: usize,
    /// Dice.
    pub dice: MeanStd,
    /// Intersection over union.
    pub iou: MeanStd,
    /// 95th percentile of the Hausdorff distance, in pixels.
    pub hd95: MeanStd,
    /// Number of samples where exactly one of prediction and ground truth is empty, so that `hd95` is the image's diagonal.
    pub one_empty: usize,
}

/// Mean and sample standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MeanStd {
    /// Mean.
    pub mean: f64,
    /// Standard deviation with denominator n - 1; 0 for one value.
    pub std: f64,
}

impl Metrics {
    /// Summarises scores.
    pub fn of<'a>(rows: impl Iterator<Item = &'a SampleScores> + Clone) -> Self {
        let over = |value: fn(&SampleScores) -> f64| {
            let summary = Summary::of(rows.clone().map(value));
            MeanStd {
                mean: summary.mean,
                std: summary.std,
            }
        };
        Self {
            samples: rows.clone().count(),
            dice: over(|row| row.dice),
            iou: over(|row| row.iou),
            hd95: over(|row| row.hd95),
            one_empty: rows.filter(|row| row.one_empty).count(),
        }
    }
}

/// The result of an evaluation.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The scores of every sample under every prompt set, with all sets of one sample in a row.
    pub rows: Vec<SampleScores>,
    /// The loss, averaged over rows.
    pub loss: f64,
}

impl Evaluation {
    /// The metrics of a prompt set.
    pub fn for_prompt_set(&self, set: &str) -> Metrics {
        Metrics::of(self.rows.iter().filter(|row| row.set == set))
    }

    /// The groups of the samples, in the order in which they first occur.
    pub fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !row.group.is_empty() && !groups.contains(&row.group.as_str()) {
                groups.push(&row.group);
            }
        }
        groups
    }

    /// The metrics of a group under a prompt set.
    pub fn for_group(&self, set: &str, group: &str) -> Metrics {
        let rows = self.rows.iter();
        Metrics::of(rows.filter(|row| row.set == set && row.group == group))
    }

    /// The metrics over all rows.
    pub fn overall(&self) -> Metrics {
        Metrics::of(self.rows.iter())
    }
}
