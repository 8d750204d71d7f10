//! The commands, one file each.

mod cache;
mod data;
mod demo;
mod eval;
mod eval_report;
mod model;
mod predict;
mod study;
mod train;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use vlsm::Segmenter;
use vlsm_train::Recipe;

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    Demo(demo::Args),
    Train(train::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Study(study::Args),
    #[command(subcommand)]
    Data(data::Command),
    #[command(subcommand)]
    Model(model::Command),
    Cache(cache::Args),
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self {
            Self::Demo(args) => args.run(),
            Self::Train(args) => args.run(),
            Self::Eval(args) => args.run(),
            Self::Predict(args) => args.run(),
            Self::Study(args) => args.run(),
            Self::Data(command) => command.run(),
            Self::Model(command) => command.run(),
            Self::Cache(args) => args.run(),
        }
    }
}

/// A base with or without an adapter, for inputs of a size, on a device.
fn segmenter(
    base: &str,
    adapter: Option<&Path>,
    image_size: Option<usize>,
    device: &str,
) -> Result<Segmenter> {
    let mut segmenter = Segmenter::from_pretrained_on(base, &vlsm_train::device(device)?)?;
    if let Some(adapter) = adapter {
        segmenter = segmenter.with_adapter(adapter)?;
    }
    if let Some(size) = image_size {
        segmenter = segmenter.with_image_size(size)?;
    }
    Ok(segmenter)
}

/// A recipe for no more than its `[data]` section: the defaults for the data set at `root`, and
/// overrides of keys that start with `data.`.
fn data_recipe(base: &str, root: &Path, overrides: &[String]) -> Result<Recipe> {
    only_data(overrides)?;
    let mut recipe = Recipe::default();
    recipe.model.base = base.to_owned();
    recipe.data.config.root = root.to_owned();
    Recipe::parse(&recipe.to_toml(), overrides).map_err(anyhow::Error::msg)
}

/// Refuses overrides of anything but data.
fn only_data(overrides: &[String]) -> Result<()> {
    match overrides.iter().find(|text| !text.starts_with("data.")) {
        Some(text) => bail!(
            "--set {text}: only keys of `data` can be set here, such as data.eval_prompt=p1; the \
             rest has options of its own"
        ),
        None => Ok(()),
    }
}

/// Makes the folder that a file will be written into.
fn make_parent(file: &Path) -> Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => make_folder(folder),
        _ => Ok(()),
    }
}

/// Makes a folder and those above it.
fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make folder `{}`", folder.display()))
}

/// A value as JSON, on several lines, with a line break at the end.
fn to_json(value: &impl serde::Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Paths, one a line.
fn listed(paths: &[PathBuf]) -> String {
    let line = |path: &PathBuf| format!("  {}\n", path.display());
    paths.iter().map(line).collect()
}
