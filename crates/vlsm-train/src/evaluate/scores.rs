//! Scores of samples, and their means.

use serde::{Deserialize, Serialize};
use vlsm_data::{PromptChoice, Sample, Summary};

use super::CasePictures;
use super::bootstrap::intervals;

/// Whether words of a prompt were read from the true mask, which a user of the model does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Oracle {
    /// They were not.
    #[default]
    No,
    /// The data set does not say. In the published data sets this holds for the prompts beyond p1, which state shape, colour,
    /// size, number or position.
    Unknown,
    /// They were.
    Yes,
}

impl Oracle {
    /// What a data set says of a sample's prompt.
    pub(crate) fn of(sample: &Sample, choice: &PromptChoice) -> Self {
        let PromptChoice::Named(name) = choice else {
            return Self::No;
        };
        match &sample.oracle {
            Some(parts) if parts.get(name).is_some_and(|parts| !parts.is_empty()) => Self::Yes,
            Some(_) => Self::No,
            None if number_of(name).is_some_and(|number| number > 1) => Self::Unknown,
            None => Self::No,
        }
    }

    /// The name in CSV files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::Unknown => "unknown",
        }
    }

    /// The mark after a prompt's name.
    pub fn mark(self) -> &'static str {
        match self {
            Self::No => "",
            Self::Yes => " (oracle)",
            Self::Unknown => " (oracle?)",
        }
    }
}

/// The number in a prompt's name: 6 for `p6`.
pub(crate) fn number_of(name: &str) -> Option<u32> {
    name.strip_prefix('p')?.parse().ok()
}

/// The scores of one sample under one prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleScores {
    /// The sample.
    pub sample: String,
    /// The sample's group ([`Sample::group`](vlsm_data::Sample::group)), such as a class; empty if there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The patient or image ([`Sample::subject`](vlsm_data::Sample::subject)). Samples of one subject are not independent.
    pub subject: String,
    /// The prompt set.
    pub set: String,
    /// Whether words of the prompt were read from the true mask.
    pub oracle: Oracle,
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

/// Mean and spread of the metrics over samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metrics {
    /// Number of samples.
    pub samples: usize,
    /// Number of subjects that they belong to.
    pub subjects: usize,
    /// Dice.
    pub dice: MeanStd,
    /// Intersection over union.
    pub iou: MeanStd,
    /// 95th percentile of the Hausdorff distance, in pixels.
    pub hd95: MeanStd,
    /// Number of samples where exactly one of prediction and ground truth is empty, so that `hd95` is the image's diagonal.
    pub one_empty: usize,
    /// Whether the prompts of some samples were read from their true masks.
    pub oracle: Oracle,
}

/// Mean, sample standard deviation, and confidence interval of the mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MeanStd {
    /// Mean.
    pub mean: f64,
    /// Standard deviation with denominator n - 1; 0 for one value.
    pub std: f64,
    /// The bootstrap 95 % confidence interval of the mean over subjects; `None` for one subject.
    pub ci95: Option<[f64; 2]>,
}

impl MeanStd {
    /// The mean and its interval: `0.812 [0.780, 0.841]`.
    pub fn with_interval(&self, digits: usize) -> String {
        let mean = format!("{:.digits$}", self.mean);
        match self.ci95 {
            Some([low, high]) => format!("{mean} [{low:.digits$}, {high:.digits$}]"),
            None => mean,
        }
    }
}

impl Metrics {
    /// Summarises scores.
    pub fn of<'a>(rows: impl Iterator<Item = &'a SampleScores> + Clone) -> Self {
        let values: Vec<(&str, [f64; 3])> = rows
            .clone()
            .map(|row| (&*row.subject, [row.dice, row.iou, row.hd95]))
            .collect();
        let (subjects, intervals) = intervals(&values);
        let over = |metric: usize| {
            let summary = Summary::of(values.iter().map(|(_, values)| values[metric]));
            MeanStd {
                mean: summary.mean,
                std: summary.std,
                ci95: intervals.map(|intervals| intervals[metric]),
            }
        };
        Self {
            samples: values.len(),
            subjects,
            dice: over(0),
            iou: over(1),
            hd95: over(2),
            one_empty: rows.clone().filter(|row| row.one_empty).count(),
            oracle: rows.map(|row| row.oracle).max().unwrap_or_default(),
        }
    }

    /// A warning if the samples are too few for the means to be of use.
    pub fn few(&self) -> Option<String> {
        (self.subjects < FEW).then(|| {
            format!(
                "only {} test images: differences of means are mostly chance; use at least {FEW}",
                self.subjects
            )
        })
    }
}

/// With fewer test images than these, means say little.
const FEW: usize = 20;

/// The result of an evaluation.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The scores of every sample under every prompt set, with all sets of one sample in a row.
    pub rows: Vec<SampleScores>,
    /// The loss, averaged over rows.
    pub loss: f64,
    /// The pictures of every sample, with the masks predicted under the first prompt set, if they were asked for
    /// ([`EvalConfig::with_pictures`](super::EvalConfig::with_pictures)).
    pub pictures: Vec<CasePictures>,
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
