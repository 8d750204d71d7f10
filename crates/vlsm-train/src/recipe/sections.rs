//! The sections of a recipe, with their defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use vlsm_data::{DataConfig, Sample};
use vlsm_models::{MethodConfig, Preprocessing};

/// `[model]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// A folder, or a name on the hub, with a revision behind `@`.
    pub base: String,
    /// Side of the square input, in pixels; by default the base's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
}

impl ModelConfig {
    /// How the base's input is made, at the recipe's size.
    pub fn preprocessing(&self, base: &Preprocessing) -> Preprocessing {
        Preprocessing {
            image_size: self.image_size.unwrap_or(base.image_size),
            ..base.clone()
        }
    }
}

/// `[method]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MethodSection {
    /// The method.
    #[serde(flatten)]
    pub config: MethodConfig,
    /// An adapter file to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_from: Option<PathBuf>,
}

/// `[data]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DataSection {
    /// Where samples come from.
    #[serde(flatten)]
    pub config: DataConfig,
    /// At most this many validation samples and as many test samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_limit: Option<usize>,
}

impl DataSection {
    /// The samples that are evaluated: the first [`eval_limit`](Self::eval_limit), or all.
    pub fn limited<'a>(&self, samples: &'a [Sample]) -> &'a [Sample] {
        let count = self.eval_limit.unwrap_or(samples.len());
        &samples[..count.min(samples.len())]
    }
}

/// How the learning rate changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Not at all.
    Constant,
    /// It falls when the validation loss no longer does.
    Plateau,
    /// It falls along half a cosine.
    Cosine,
}

/// `[optim]`: AdamW, or Muon beside it, and the schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Greatest global norm of the gradients; 0 turns clipping off.
    pub clip: f64,
    /// Decay of the first and of the second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Whether matrices of transformer layers and adapters are stepped by Muon (Jordan et al. 2024; momentum 0.95, and a
    /// learning rate that moves them as far as AdamW does) rather than by AdamW.
    pub muon: bool,
    /// How the learning rate changes.
    pub schedule: ScheduleKind,
    /// Steps in which it rises linearly to `lr`.
    pub warmup_steps: usize,
    /// Where `cosine` ends and below which `plateau` does not fall.
    pub min_lr: f64,
    /// `plateau`: what the learning rate is multiplied by.
    pub plateau_factor: f64,
    /// `plateau`: epochs without improvement that are borne.
    pub plateau_patience: usize,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            weight_decay: 1e-3,
            clip: 0.5,
            betas: [0.9, 0.999],
            eps: 1e-8,
            muon: false,
            schedule: ScheduleKind::Plateau,
            warmup_steps: 0,
            min_lr: 0.0,
            plateau_factor: 0.3,
            plateau_patience: 5,
        }
    }
}

/// `[trainer]`: the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// Most passes over the training samples.
    pub epochs: usize,
    /// Most optimiser steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<usize>,
    /// Samples of one forward and backward pass.
    pub batch_size: usize,
    /// Passes whose gradients make one step.
    pub accumulate: usize,
    /// Parts of a batch that are computed side by side, each on its share of the cores. For small models on a CPU:
    /// memory grows, and so does speed. Each part has a cross entropy of its own; that of the batch is their mean.
    pub parts: usize,
    /// Whether the backward pass computes activations again rather than keeping them: less memory, the same numbers, slower.
    /// On the CPU.
    pub recompute: bool,
    /// Determines initialisation, order and random prompts.
    pub seed: u64,
    /// `cpu`, `vulkan`, `metal`, `webgpu`, `cuda` or `rocm`.
    pub device: String,
    /// Epochs without a better validation Dice after which training ends; 0 turns this off.
    pub patience: usize,
    /// By how much Dice must rise to count as better.
    pub min_delta: f64,
    /// Epochs that are run whatever `patience` says.
    pub min_epochs: usize,
    /// Steps between checkpoints within an epoch; 0 writes them at the end of epochs only.
    pub checkpoint_every: usize,
    /// Whether the validation split is evaluated after each epoch.
    pub validate: bool,
    /// Whether the test split is evaluated at the end.
    pub test: bool,
    /// Samples of one forward pass in evaluation.
    pub eval_batch_size: usize,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            epochs: 100,
            max_steps: None,
            batch_size: 8,
            accumulate: 1,
            parts: 1,
            recompute: false,
            seed: 42,
            device: "cpu".into(),
            patience: 20,
            min_delta: 1e-4,
            min_epochs: 0,
            checkpoint_every: 0,
            validate: true,
            test: true,
            eval_batch_size: 8,
        }
    }
}

impl TrainerConfig {
    /// Samples of one optimiser step.
    pub fn step_samples(&self) -> usize {
        self.batch_size * self.accumulate
    }

    /// Most optimiser steps over that many training samples.
    pub fn steps(&self, samples: usize) -> usize {
        let steps = self.epochs * samples.div_ceil(self.step_samples());
        self.max_steps.map_or(steps, |most| most.min(steps))
    }

    /// Whether training goes through that many samples more than once.
    pub fn repeats(&self, samples: usize) -> bool {
        self.steps(samples) > samples.div_ceil(self.step_samples())
    }
}

/// When features are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheMode {
    /// Where nothing in the vision tower is trained and images come again in later epochs.
    Auto,
    /// Always; where features change it is an error.
    On,
    /// Never.
    Off,
}

/// How features are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheDtype {
    /// As computed: 4 bytes a value.
    F32,
    /// Rounded to half precision: 2 bytes a value. The run uses the rounded values even where nothing is stored.
    F16,
}

/// `[cache]`: features of images, kept on the disk for later epochs and other runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// When features are kept.
    pub features: CacheMode,
    /// How they are stored.
    pub dtype: CacheDtype,
    /// Most of the folder, in 10^9 bytes; where a run would need more, nothing is stored for it.
    pub max_gb: f64,
    /// The folder; by default [`default_folder`](crate::feature_cache::default_folder).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            features: CacheMode::Auto,
            dtype: CacheDtype::F32,
            max_gb: 20.0,
            dir: None,
        }
    }
}
