//! Helpers that several commands share.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use vlsm::Segmenter;
use vlsm_data::{Dataset, Severity};
use vlsm_models::{Base, NetworkConfig, Precision};
use vlsm_train::{Recipe, RunFolder};

use crate::output::{note, notice};

/// Loads a base, with an adapter and an input size if given, on a device.
pub(super) fn segmenter(
    base: &str,
    adapter: Option<&Path>,
    image_size: Option<usize>,
    device: &str,
    precision: Precision,
) -> Result<Segmenter> {
    let base = Base::load(base, &vlsm_models::device(device)?)?.with_precision(precision)?;
    let mut segmenter = Segmenter::from_base(base)?;
    // The blocks that loading freed would otherwise add a sixtieth to the peak memory of a prediction.
    vlsm_alloc::release_freed_memory();
    if let Some(adapter) = adapter {
        segmenter = segmenter.with_adapter(adapter)?;
    }
    if let Some(size) = image_size {
        segmenter = segmenter.with_image_size(size)?;
    }
    Ok(segmenter)
}

/// Prints what the guards find in a data set's masks and images.
///
/// # Errors
/// If results on them would be wrong.
pub(super) fn report_findings(dataset: &Dataset) -> Result<()> {
    for finding in vlsm_data::guard(dataset).into_result()?.findings {
        match finding.severity {
            Severity::Notice => notice(&format!("note: {}", finding.message)),
            _ => note(&format!("warning: {}", finding.message)),
        }
    }
    Ok(())
}

/// The adapter file that a path names: the file itself, or that of a run's folder.
pub(super) fn adapter_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let run = RunFolder {
        path: path.to_owned(),
    };
    let file = run.adapter();
    if file.is_file() {
        return Ok(file);
    }
    let reason = match run.recipe().is_file() {
        true => "a run without an adapter yet, since no epoch of it was completed",
        false => "a folder, but not that of a run",
    };
    bail!(
        "--adapter {}: this is {reason}; give an adapter file, or the folder of a run that has `adapter.safetensors`",
        path.display()
    )
}

/// A recipe used for its `[data]` section only: the defaults for the data set at `root`, with
/// overrides of keys that start with `data.`.
pub(super) fn data_recipe(base: &str, root: &Path, overrides: &[String]) -> Result<Recipe> {
    only_data(overrides)?;
    let mut recipe = Recipe::default();
    recipe.model.base = base.to_owned();
    recipe.data.config.root = root.to_owned();
    Recipe::parse(&recipe.to_toml()?, overrides).map_err(anyhow::Error::msg)
}

/// Refuses overrides of keys outside the section `data`.
pub(super) fn only_data(overrides: &[String]) -> Result<()> {
    match overrides.iter().find(|text| !text.starts_with("data.")) {
        Some(text) => bail!(
            "--set {text}: only keys of `data` can be set here, such as data.eval_prompt=p1; use \
             the command's options for everything else"
        ),
        None => Ok(()),
    }
}

/// Creates the folder that a file will be written to.
pub(super) fn make_parent(file: &Path) -> Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => make_folder(folder),
        _ => Ok(()),
    }
}

/// Creates a folder and its parents.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create folder `{}`", folder.display()))
}

/// A value as indented JSON that ends with a line break.
pub(super) fn to_json(value: &impl serde::Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Paths, one per line.
pub(super) fn bullet_list(paths: &[PathBuf]) -> String {
    let line = |path: &PathBuf| format!("  {}\n", path.display());
    paths.iter().map(line).collect()
}

/// Refuses to write over an existing file, unless `force` is set.
pub(super) fn check_new_file(file: &Path, force: bool) -> Result<()> {
    if file.exists() && !force {
        bail!(
            "`{}` already exists; choose another name, or overwrite it with --force",
            file.display()
        );
    }
    Ok(())
}

/// Refuses to write a base over an existing one, unless `force` is set.
pub(super) fn check_new_base(folder: &Path, config: &NetworkConfig, force: bool) -> Result<()> {
    check_no_base(&folder.join(config.weights_file()), force)
}

/// Refuses to overwrite the weights of a base.
pub(super) fn check_no_base(weights: &Path, force: bool) -> Result<()> {
    if weights.exists() && !force {
        bail!(
            "`{}` already exists; choose another folder, or overwrite it with --force",
            weights.display()
        );
    }
    Ok(())
}
