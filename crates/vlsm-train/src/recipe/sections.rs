//! The sections of a recipe, with their defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use vlsm_data::{DataConfig, PromptChoice, Sample};
use vlsm_image::Fit;
use vlsm_models::{MethodConfig, Precision, Preprocessing};

/// `[model]`: the base.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// A folder, a file of weights, a name on the Hugging Face hub (with a revision after `@`), or `builtin:tiny`. Default:
    /// none, required.
    pub base: String,
    /// Side of the square input, in pixels: a multiple of the patch size, at most 4096. Default: the base's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// How images that are not square become the square input. Default: `"stretch"`.
    pub resize: Fit,
    /// Precision of the frozen towers' linear layers: `f32` or, for CLIPSeg and BiomedCLIPSeg with methods that leave the
    /// towers' matrices as they are, `f16`, `int8` on the CPU and `bf16` on accelerators (with `lora` too). See `docs/speed.md`. Default:
    /// `"f32"`.
    pub precision: Precision,
}

impl ModelConfig {
    /// How the base's input is made, at the recipe's size.
    pub fn preprocessing(&self, base: &Preprocessing) -> Preprocessing {
        Preprocessing {
            image_size: self.image_size.unwrap_or(base.image_size),
            fit: self.resize,
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
    /// An adapter file to start from; it also decides the method. Default: not set.
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
    /// Maximum number of validation samples, and of test samples. Default: all.
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
    /// It does not.
    Constant,
    /// It is multiplied by `plateau_factor` when the validation loss stops falling.
    Plateau,
    /// It falls to `min_lr` along half a cosine.
    Cosine,
    /// It falls to `min_lr` in equal steps.
    Linear,
}

/// `[optim]`: the optimiser, AdamW or Muon with AdamW, and the schedule of the learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// Learning rate. Default: `1e-3`; for `method.kind = "shallow"` `3e-4`, for `"full"` `1e-5`.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Maximum global norm of the gradients; 0 turns clipping off.
    pub clip: f64,
    /// Decay rates of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the square root of the second moment.
    pub eps: f64,
    /// Use Muon (Jordan et al. 2024; momentum 0.95, learning rate scaled to move weights as far as AdamW does) for the
    /// matrices of transformer layers and adapters; all other parameters use AdamW.
    pub muon: bool,
    /// How the learning rate changes.
    pub schedule: ScheduleKind,
    /// Steps in which the learning rate rises linearly to `lr`.
    pub warmup_steps: usize,
    /// Lowest learning rate: where `cosine` and `linear` end, and the floor of `plateau`.
    pub min_lr: f64,
    /// `plateau`: factor on the learning rate.
    pub plateau_factor: f64,
    /// `plateau`: epochs without improvement before the rate is lowered.
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

/// `[trainer]`: the training loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// Maximum number of passes over the training samples.
    pub epochs: usize,
    /// Maximum number of optimiser steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<usize>,
    /// Samples per forward and backward pass.
    pub batch_size: usize,
    /// Passes whose gradients are accumulated for one step.
    pub accumulate: usize,
    /// Parts of a batch that run in parallel, each on its share of the cores: faster for small models on a CPU, with more
    /// memory. Each part has its own cross entropy; that of the batch is
    /// their mean. Numbers differ from those of 1 by rounding, so a run keeps its value.
    pub data_parallel: usize,
    /// Recompute activations in the backward pass instead of keeping them: less memory, same numbers, slower. CPU only.
    pub recompute: bool,
    /// Seed of initialisation, sample order and random prompts.
    pub seed: u64,
    /// `cpu`; an accelerator that the program was built for, `cuda`, `rocm`, `metal`, `vulkan` or `webgpu`, with an index if it
    /// is not the first, as `cuda:1`; or `auto`, the first accelerator there is, else the CPU.
    pub device: String,
    /// Epochs without a better validation Dice after which training stops; 0 turns early stopping off.
    pub patience: usize,
    /// Minimum rise of validation Dice that counts as better.
    pub min_delta: f64,
    /// Epochs before early stopping is considered.
    pub min_epochs: usize,
    /// Steps between checkpoints; 0 writes them after ten minutes and at the end of epochs.
    pub checkpoint_every: usize,
    /// Evaluate the validation split after each epoch.
    pub validate: bool,
    /// Evaluate the test split at the end.
    pub test: bool,
    /// Prompts to test under in addition to `data.eval_prompt`, written as that. Default: all prompt names of the data set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_prompts: Option<Vec<PromptChoice>>,
    /// Samples per forward pass in evaluation.
    pub eval_batch_size: usize,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            epochs: 100,
            max_steps: None,
            batch_size: 8,
            accumulate: 1,
            data_parallel: 1,
            recompute: false,
            seed: 42,
            device: "cpu".into(),
            patience: 20,
            min_delta: 1e-4,
            min_epochs: 0,
            checkpoint_every: 0,
            validate: true,
            test: true,
            test_prompts: None,
            eval_batch_size: 8,
        }
    }
}

impl TrainerConfig {
    /// Samples of one optimiser step.
    pub fn step_samples(&self) -> usize {
        self.batch_size.saturating_mul(self.accumulate)
    }

    /// Most optimiser steps over that many training samples.
    pub fn steps(&self, samples: usize) -> usize {
        let steps = self
            .epochs
            .saturating_mul(samples.div_ceil(self.step_samples()));
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
    /// If some states of the vision tower do not change in training and images recur in later epochs.
    Auto,
    /// Always; an error if training changes the features.
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

/// `[cache]`: the feature cache, vision features on disk for later epochs and other runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// When features are cached.
    pub features: CacheMode,
    /// How features are stored.
    pub dtype: CacheDtype,
    /// Maximum size of the folder, in 10^9 bytes. Features that were not used for longest are deleted to make space; a run
    /// that alone needs more does not use the cache.
    pub max_gb: f64,
    /// The folder. Default: `features` in `$VLSM_CACHE`, else in
    /// `vlsm` in the user's cache folder.
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
