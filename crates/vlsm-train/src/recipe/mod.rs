//! Recipes: everything that determines a run, in one TOML file.

mod keys;
mod method;
mod sections;
pub(crate) mod stored;
mod validate;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vlsm_data::{AugmentConfig, DataConfig};

use crate::error::Result;
use crate::loss::LossConfig;

pub(crate) use keys::{
    EITHER, expect_known, merge, over_default, set, table_over_default, unknown,
};
use keys::{read, within};
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
    /// Random changes of the training images.
    pub augment: AugmentConfig,
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
        stored::read_file(path, overrides, Self::parse)
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
    pub(crate) fn from_table(mut table: toml::Table) -> std::result::Result<Self, String> {
        expect_known(&table)?;
        method::check(&table)?;
        method::set_learning_rate(&mut table);
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
        stored::to_toml(self)
    }

    fn to_table(&self) -> Result<toml::Table> {
        stored::to_table(self)
    }

    /// The same recipe with absolute paths, so that a run's recipe means the same in any working folder. Names such as
    /// `builtin:tiny` or a model on the hub stay as they are.
    pub(crate) fn with_absolute_paths(&self) -> Self {
        let mut recipe = self.clone();
        absolute_data_paths(&mut recipe.data.config);
        let others = [&mut recipe.method.init_from, &mut recipe.cache.dir];
        others.into_iter().flatten().for_each(make_absolute);
        absolute_base(&mut recipe.model.base);
        recipe
    }

    /// The keys in which this recipe differs from `existing`, the recipe in a run's folder, without those that do not affect any
    /// number.
    ///
    /// # Errors
    /// As [`to_toml`](Self::to_toml).
    pub(crate) fn changes_since(&self, existing: &Self) -> Result<Vec<String>> {
        let (mut wanted, existing) = (self.with_absolute_paths(), existing.with_absolute_paths());
        let mut free = vec![
            "cache.dir",
            "cache.max_gb",
            "data.accept",
            "data.workers",
            "trainer.checkpoint_every",
            "trainer.device",
            "trainer.eval_batch_size",
            "trainer.recompute",
        ];
        if self.cache.dtype == CacheDtype::F32 {
            free.push("cache.features");
        }
        if wanted.method.init_from.is_some() {
            wanted.method.config = existing.method.config.clone();
        }
        // A run records the window that it computed.
        let data = &mut wanted.data.config;
        data.window = data.window.or(existing.data.config.window);
        stored::changes(&wanted, &existing, &free)
    }

    /// The keys that forbid to continue a run with the recipe `existing`. A run may be longer, stop early for other reasons, be
    /// tested or not, and its base and data may have moved: the checkpoint identifies them
    /// ([`Identity`](crate::Identity)).
    ///
    /// # Errors
    /// As [`to_toml`](Self::to_toml).
    pub(crate) fn changes_on_resume(&self, existing: &Self) -> Result<Vec<String>> {
        const FREE: [&str; 15] = [
            "data.classes",
            "data.pool",
            "data.prompts",
            "data.root",
            "data.split.test_list",
            "data.split.train_list",
            "data.split.val_list",
            "method.init_from",
            "model.base",
            "trainer.epochs",
            "trainer.max_steps",
            "trainer.min_epochs",
            "trainer.patience",
            "trainer.test",
            "trainer.test_prompts",
        ];
        let mut changed = self.changes_since(existing)?;
        changed.retain(|key| !FREE.contains(&key.as_str()));
        Ok(changed)
    }

    /// The keys in which two recipes differ.
    ///
    /// # Errors
    /// As [`to_toml`](Self::to_toml).
    pub fn differences(&self, other: &Self) -> Result<Vec<String>> {
        stored::changes(self, other, &[])
    }
}

/// Makes the paths of a `[data]` section absolute; names such as `builtin:scenes` stay as they are.
pub(crate) fn absolute_data_paths(data: &mut DataConfig) {
    if data.pool.is_empty() && data.builtin().is_none() && !data.root.as_os_str().is_empty() {
        make_absolute(&mut data.root);
    }
    data.pool
        .iter_mut()
        .filter(|root| !root.to_string_lossy().starts_with("builtin:"))
        .for_each(make_absolute);
    let split = &mut data.split;
    let files = [
        &mut data.prompts,
        &mut data.classes,
        &mut split.train_list,
        &mut split.val_list,
        &mut split.test_list,
    ];
    for file in files.into_iter().flatten() {
        // Otherwise it is looked up in the data set's folder.
        if file.exists() && !data.root.join(&*file).exists() {
            make_absolute(file);
        }
    }
    if let Some(group) = data.group.as_mut().filter(|group| group.ends_with(".csv"))
        && Path::new(group).exists()
        && !data.root.join(&*group).exists()
    {
        let mut file = PathBuf::from(&*group);
        make_absolute(&mut file);
        *group = file.to_string_lossy().into_owned();
    }
}

/// Makes a base's path absolute; names such as `builtin:tiny` or a model on the hub stay as they are.
pub(crate) fn absolute_base(name: &mut String) {
    let mut base = PathBuf::from(&*name);
    if base.exists() {
        make_absolute(&mut base);
        *name = base.to_string_lossy().into_owned();
    }
}

pub(crate) fn make_absolute(path: &mut PathBuf) {
    // It only fails for an empty path or without a working folder.
    if let Ok(absolute) = std::path::absolute(&*path) {
        *path = absolute;
    }
}

#[cfg(test)]
#[path = "recipe_tests.rs"]
mod tests;
