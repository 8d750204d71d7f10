//! What recipes of all trainings have in common: their files, and what differs between two of them.

use std::path::Path;

use serde::Serialize;

use super::keys::{get, keys_of};
use crate::error::{Result, TrainError};

/// Reads a recipe's file with `parse`, whose errors are messages that name the key.
pub(crate) fn read_file<R>(
    path: &Path,
    overrides: &[String],
    parse: impl Fn(&str, &[String]) -> std::result::Result<R, String>,
) -> Result<R> {
    let text = std::fs::read_to_string(path).map_err(|source| TrainError::Read {
        path: path.into(),
        source,
    })?;
    parse(&text, overrides).map_err(|message| TrainError::Recipe {
        path: path.into(),
        message,
    })
}

/// A recipe as TOML, defaults filled in.
pub(crate) fn to_toml(recipe: &impl Serialize) -> Result<String> {
    toml::to_string_pretty(recipe).map_err(|error| TrainError::RecipeText(error.to_string()))
}

/// A recipe as a table.
pub(crate) fn to_table(recipe: &impl Serialize) -> Result<toml::Table> {
    toml::Table::try_from(recipe).map_err(|error| TrainError::RecipeText(error.to_string()))
}

/// The keys in which two recipes differ, without `free` ones.
pub(crate) fn changes<R: Serialize>(a: &R, b: &R, free: &[&str]) -> Result<Vec<String>> {
    let mut changed = differences(&to_table(a)?, &to_table(b)?);
    changed.retain(|key| !free.contains(&key.as_str()));
    Ok(changed)
}

/// The keys in which two tables differ, sorted.
fn differences(a: &toml::Table, b: &toml::Table) -> Vec<String> {
    let mut keys = Vec::new();
    keys_of(a, "", &mut keys);
    keys_of(b, "", &mut keys);
    keys.sort();
    keys.dedup();
    keys.retain(|key| get(a, key) != get(b, key));
    keys
}
