//! Recipes of trainings of language models.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vlsm_language::LowRankConfig;

use crate::error::Result;
use crate::recipe::{OptimConfig, ScheduleKind, over_default, stored};

/// A recipe. Every key but `llm` has a default; those of the optimiser and of `lora` are LLM-wrapper's, with what Transformers' Trainer
/// adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageRecipe {
    /// The language model: a folder in Hugging Face's format, of Llama's or GPT-Neo's layout, or `builtin:tiny`.
    pub llm: PathBuf,
    /// What is trained.
    pub method: Tuning,
    /// Passes over the examples.
    pub epochs: usize,
    /// Examples per step.
    pub batch_size: usize,
    /// Whether the model learns to end its answer. The published code does not teach it, and models then go on up to the longest
    /// answer.
    pub train_end: bool,
    /// Examples with more tokens are left out, as published.
    pub max_tokens: usize,
    /// Seed of initialisation, dropout and order.
    pub seed: u64,
    /// `cpu`, or an accelerator, as in `trainer.device` of other recipes.
    pub device: String,
    /// Steps between checkpoints; 0 writes them at the end of epochs.
    pub checkpoint_every: usize,
    /// The LoRA, for `method = "lora"`.
    pub lora: LowRankConfig,
    /// The optimiser.
    pub optim: OptimConfig,
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tuning {
    /// A LoRA; the model is frozen.
    Lora,
    /// All parameters of the model.
    Full,
    /// All parameters, from random ones: the folder needs no weights.
    Scratch,
}

impl Default for LanguageRecipe {
    fn default() -> Self {
        Self {
            llm: PathBuf::new(),
            method: Tuning::Lora,
            epochs: 1,
            batch_size: 4,
            train_end: true,
            max_tokens: 1024,
            seed: 42,
            device: "cpu".into(),
            checkpoint_every: 500,
            lora: LowRankConfig::default(),
            optim: OptimConfig {
                lr: 1e-5,
                weight_decay: 0.0,
                clip: 1.0,
                schedule: ScheduleKind::Linear,
                ..OptimConfig::default()
            },
        }
    }
}

/// Keys that change no number.
const FREE: [&str; 2] = ["device", "checkpoint_every"];

impl LanguageRecipe {
    /// Reads a recipe and applies overrides of the form `key=value`, such as `lora.rank=8`.
    ///
    /// # Errors
    /// If the file is not a recipe. The error names the key.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        stored::read_file(path, overrides, Self::parse)
    }

    /// Parses a recipe like [`read`](Self::read).
    ///
    /// # Errors
    /// A message that names the key.
    pub fn parse(text: &str, overrides: &[String]) -> std::result::Result<Self, String> {
        let recipe: Self = over_default(text, overrides)?;
        for (key, value) in [
            ("epochs", recipe.epochs),
            ("batch_size", recipe.batch_size),
            ("max_tokens", recipe.max_tokens),
        ] {
            if value == 0 {
                return Err(format!("`{key}` is 0; give at least 1"));
            }
        }
        if recipe.seed > i64::MAX as u64 {
            return Err(format!(
                "`seed` is {}; give at most {}",
                recipe.seed,
                i64::MAX
            ));
        }
        let optim = &recipe.optim;
        for (key, value) in [
            ("lr", optim.lr),
            ("weight_decay", optim.weight_decay),
            ("clip", optim.clip),
        ] {
            if !(0.0..=1e6).contains(&value) {
                return Err(format!(
                    "`optim.{key}` is {value}; give a number from 0 to 1e6"
                ));
            }
        }
        if optim.schedule == ScheduleKind::Plateau {
            return Err(
                "`optim.schedule` is \"plateau\", but nothing is validated here; set it to \"linear\", \"cosine\" or \"constant\""
                    .into(),
            );
        }
        Ok(recipe)
    }

    /// The recipe as TOML, defaults filled in.
    ///
    /// # Errors
    /// If TOML cannot hold a value, such as a path that is not Unicode.
    pub fn to_toml(&self) -> Result<String> {
        stored::to_toml(self)
    }

    /// The keys in which two recipes differ, without those that change no number.
    pub(super) fn changes_since(&self, existing: &Self) -> Result<Vec<String>> {
        stored::changes(self, existing, &FREE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_settings_are_the_default() {
        let recipe = LanguageRecipe::parse("llm = \"m\"", &["lora.rank=8".into()]).unwrap();
        assert_eq!((recipe.lora.rank, recipe.lora.alpha), (8, 256.0));
        assert_eq!(recipe.optim.lr, 1e-5);
        let again = LanguageRecipe::parse(&recipe.to_toml().unwrap(), &[]).unwrap();
        assert_eq!(recipe, again);
        let other = LanguageRecipe::parse("llm = \"m\"\ndevice = \"x\"", &[]).unwrap();
        assert_eq!(other.changes_since(&recipe).unwrap(), ["lora.rank"]);
    }

    #[test]
    fn wrong_values_name_the_key() {
        for (text, key) in [
            ("batch_size = 0", "batch_size"),
            ("method = \"dora\"", "method"),
            ("optim.schedule = \"plateau\"", "optim.schedule"),
            ("optim.lr = -1.0", "optim.lr"),
            ("lora.ranks = 3", "lora"),
            ("epoch = 2", "epoch"),
        ] {
            let error = LanguageRecipe::parse(text, &[]).unwrap_err();
            assert!(error.contains(key), "{text}: {error}");
        }
    }
}
