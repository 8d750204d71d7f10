//! Recipes: everything that determines a run, in one TOML file.

mod keys;
mod method;
mod sections;
mod validate;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
use crate::loss::LossConfig;

pub(crate) use keys::{EITHER, expect_known, set, unknown};
use keys::{get, keys_of, read, within};
pub(crate) use method::drop_foreign_keys;
pub use sections::{
    CacheConfig, CacheDtype, CacheMode, DataSection, MethodSection, ModelConfig, OptimConfig,
    ScheduleKind, TrainerConfig,
};

/// A recipe. Every key has a default, except `model.base` and `data.root` (or `data.pool`).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The base.
    pub model: ModelConfig,
    /// What is trained.
    pub method: MethodSection,
    /// Samples and prompts.
    pub data: DataSection,
    /// Weights of the loss's terms.
    pub loss: LossConfig,
    /// The optimiser and its schedule.
    pub optim: OptimConfig,
    /// The loop.
    pub trainer: TrainerConfig,
    /// Features kept from epoch to epoch.
    pub cache: CacheConfig,
}

impl Recipe {
    /// Reads a recipe and applies overrides of the form `key=value`, such as `optim.lr=3e-4`.
    /// A value that is not valid TOML is read as a string.
    ///
    /// # Errors
    /// If the file is not a recipe. The error names the key and, if it is unknown, the most similar known key.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| TrainError::Read {
            path: path.into(),
            source,
        })?;
        Self::parse(&text, overrides).map_err(|message| TrainError::Recipe {
            path: path.into(),
            message,
        })
    }

    /// Parses a recipe like [`read`](Self::read).
    ///
    /// # Errors
    /// A message that names the key.
    pub fn parse(text: &str, overrides: &[String]) -> std::result::Result<Self, String> {
        let mut table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| error.to_string())?;
        for text in overrides {
            set(&mut table, text)?;
        }
        method::follow_kind(&mut table, overrides);
        Self::from_table(table)
    }

    /// The recipe of a table, checked like that of [`parse`](Self::parse).
    ///
    /// # Errors
    /// A message that names the key.
    pub(crate) fn from_table(table: toml::Table) -> std::result::Result<Self, String> {
        expect_known(&table)?;
        method::check(&table)?;
        let recipe = read(table.clone()).map_err(|(path, message)| {
            let (path, message) = within(&table, &path).unwrap_or((path, message));
            format!("`{path}`: {message}")
        })?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// The recipe as TOML, defaults filled in.
    ///
    /// # Errors
    /// If TOML cannot hold a value: a path that is not Unicode, or a number above `i64::MAX`.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|error| TrainError::RecipeText(error.to_string()))
    }

    fn to_table(&self) -> Result<toml::Table> {
        toml::Table::try_from(self).map_err(|error| TrainError::RecipeText(error.to_string()))
    }

    /// The keys in which this recipe differs from `existing`, the recipe in a run's folder. Keys that do not affect any number are
    /// left out.
    pub(crate) fn changes_since(&self, existing: &Self) -> Result<Vec<String>> {
        let mut free = vec![
            "trainer.device",
            "trainer.recompute",
            "cache.max_gb",
            "cache.dir",
        ];
        if self.cache.dtype == CacheDtype::F32 {
            free.push("cache.features");
        }
        let mut wanted = self.clone();
        if wanted.method.init_from.is_some() {
            wanted.method.config = existing.method.config.clone();
        }
        let mut changed = wanted.differences(existing)?;
        changed.retain(|key| !free.contains(&key.as_str()));
        Ok(changed)
    }

    /// The keys in which two recipes differ.
    ///
    /// # Errors
    /// As [`to_toml`](Self::to_toml).
    pub fn differences(&self, other: &Self) -> Result<Vec<String>> {
        let (a, b) = (self.to_table()?, other.to_table()?);
        let mut keys = Vec::new();
        keys_of(&a, "", &mut keys);
        keys_of(&b, "", &mut keys);
        keys.sort();
        keys.dedup();
        keys.retain(|key| get(&a, key) != get(&b, key));
        Ok(keys)
    }
}

#[cfg(test)]
#[path = "recipe_tests.rs"]
mod tests;
