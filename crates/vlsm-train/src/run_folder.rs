//! The layout of a run's folder.

use std::path::PathBuf;

use crate::error::{Result, TrainError};
use crate::recipe::Recipe;

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

    /// Refuses a folder that holds a run that `recipe` would overwrite or mix up.
    ///
    /// # Errors
    /// If there is a run and `resume` is false, or the run's recipe differs in a key that changes its numbers.
    pub(crate) fn expect_run_of(&self, recipe: &Recipe, resume: bool) -> Result<()> {
        if !self.holds_run() {
            return Ok(());
        }
        let error = |message: String| {
            Err(TrainError::Run {
                path: self.path.clone(),
                message,
            })
        };
        if !resume {
            return error(
                "already holds a run; continue it with `--resume`, or choose another folder with `--output`"
                    .into(),
            );
        }
        let path = self.recipe();
        let changed = recipe.changes_on_resume(&Recipe::read(&path, &[])?)?;
        if changed.is_empty() {
            return Ok(());
        }
        error(format!(
            "was made with other values of `{}`; resume with that recipe ({}), or choose another folder with `--output`",
            changed.join("`, `"),
            path.display()
        ))
    }
}
