//! The layout of a run's folder.

use std::path::{Path, PathBuf};

use serde::Serialize;
use vlsm_image::write_atomic_bytes;

use crate::error::{Result, TrainError};
use crate::recipe::Recipe;

/// What to do with a run that is in the folder of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Keep it: that is an error.
    Keep,
    /// Continue it.
    Resume,
    /// Delete its files and start over, once recipe and data set are found to be right.
    Replace,
}

impl From<bool> for Existing {
    /// Resume, or keep.
    fn from(resume: bool) -> Self {
        match resume {
            true => Self::Resume,
            false => Self::Keep,
        }
    }
}

/// The files of a run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    /// The folder.
    pub path: PathBuf,
}

impl RunFolder {
    /// The recipe as run, defaults filled in.
    pub fn recipe(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }
    /// JSON lines, one per step and one per epoch.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }
    /// The trained parameters of the best epoch.
    pub fn adapter(&self) -> PathBuf {
        self.path.join("adapter.safetensors")
    }
    /// The trained parameters at the end.
    pub fn last_adapter(&self) -> PathBuf {
        self.path.join("adapter_last.safetensors")
    }
    /// The state that training resumes from.
    pub fn checkpoint(&self) -> PathBuf {
        self.checkpoints().join("state.safetensors")
    }
    /// Its folder.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoint")
    }
    /// The summary.
    pub fn summary(&self) -> PathBuf {
        self.path.join("summary.json")
    }
    /// The metrics of every test sample under every prompt set; only runs of a study have it.
    pub fn scores(&self) -> PathBuf {
        self.path.join("scores.csv")
    }
    /// The report.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }
    /// The report of the last evaluation by `vlsm eval`.
    pub fn eval_report(&self) -> PathBuf {
        self.path.join("eval.html")
    }

    /// The file that a process locks while it works on the run.
    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join("run.lock")
    }

    /// Whether there is something that a new run would destroy. A run that was interrupted before its first checkpoint has
    /// nothing to continue from.
    pub(crate) fn holds_run(&self) -> bool {
        let files = [
            self.checkpoint(),
            self.adapter(),
            self.summary(),
            self.scores(),
        ];
        files.iter().any(|file| file.exists())
    }

    /// Deletes the files of a run. Other files in the folder stay.
    ///
    /// # Errors
    /// If one cannot be deleted.
    pub(crate) fn clear(&self) -> Result<()> {
        // The recipe last, so that a folder that is partly cleared is still that of a run.
        let files = [
            self.checkpoint(),
            self.adapter(),
            self.last_adapter(),
            self.metrics(),
            self.summary(),
            self.scores(),
            self.report(),
            self.eval_report(),
            self.recipe(),
        ];
        for path in files {
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(TrainError::Write { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses a folder that holds a run that `recipe` would overwrite or mix up.
    ///
    /// # Errors
    /// If there is a run that is to be kept, or the recipe of one that is to be resumed differs in a key that changes its numbers.
    pub(crate) fn expect_run_of(&self, recipe: &Recipe, existing: Existing) -> Result<()> {
        if !self.holds_run() || existing == Existing::Replace {
            return Ok(());
        }
        if existing == Existing::Keep {
            return Err(self.error(
                "already holds a run; continue it with `--resume`, choose another folder with `--output`, or start over with `--force`"
                    .into(),
            ));
        }
        let resumed = Recipe::read(&self.recipe(), &[])?;
        self.expect_unchanged(&recipe.changes_on_resume(&resumed)?)
    }

    /// Refuses a folder that holds a run, unless it is to be resumed and no key of its recipe is `changed`.
    pub(crate) fn expect_resumable(
        &self,
        resume: bool,
        changed: impl FnOnce(&Path) -> Result<Vec<String>>,
    ) -> Result<()> {
        if !self.holds_run() {
            return Ok(());
        }
        if !resume {
            return Err(self.error(
                "already holds a run; continue it with `--resume`, or choose another folder with `--output`"
                    .into(),
            ));
        }
        self.expect_unchanged(&changed(&self.recipe())?)
    }

    /// Refuses to resume this run with a recipe in which the values of `keys` are others.
    pub(crate) fn expect_unchanged(&self, keys: &[String]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        Err(self.error(format!(
            "was made with other values of `{}`; resume with that recipe ({}), or choose another folder with `--output`",
            keys.join("`, `"),
            self.recipe().display()
        )))
    }

    /// Writes the recipe as run, and makes the folder of checkpoints.
    pub(crate) fn write_recipe(&self, toml: &str) -> Result<()> {
        std::fs::create_dir_all(self.checkpoints()).map_err(|source| TrainError::Write {
            path: self.path.clone(),
            source,
        })?;
        Ok(write_atomic_bytes(&self.recipe(), toml.as_bytes())?)
    }

    /// Writes the summary as JSON, whole or not at all.
    pub(crate) fn write_summary(&self, summary: &impl Serialize) -> Result<()> {
        let path = self.summary();
        let json = serde_json::to_string_pretty(summary);
        let json = json.map_err(|error| TrainError::Write {
            path: path.clone(),
            source: error.into(),
        })?;
        Ok(write_atomic_bytes(&path, (json + "\n").as_bytes())?)
    }

    /// An error about this folder.
    pub(crate) fn error(&self, message: String) -> TrainError {
        TrainError::Run {
            path: self.path.clone(),
            message,
        }
    }
}
