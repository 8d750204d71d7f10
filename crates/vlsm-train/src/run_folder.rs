//! The layout of a run's folder.

use std::fs::File;
use std::io::{Seek, SeekFrom};
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
        self.path.join("checkpoint").join("state.safetensors")
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

    /// Refuses a folder that holds a run that `recipe` would overwrite or mix up.
    ///
    /// # Errors
    /// If there is a run and `resume` is false, or the run's recipe differs in a key that changes its numbers.
    pub(crate) fn expect_run_of(&self, recipe: &Recipe, resume: bool) -> Result<()> {
        let path = self.recipe();
        if !path.exists() {
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
                "already holds a run; continue it with `--resume`, or choose another folder with `--out`"
                    .into(),
            );
        }
        // A run may be extended; any other change would make it a different run.
        let mut changed = recipe.changes_since(&Recipe::read(&path, &[])?)?;
        changed.retain(|key| key != "trainer.epochs" && key != "trainer.max_steps");
        if changed.is_empty() {
            Ok(())
        } else {
            error(format!(
                "was made with other values of `{}`; resume with that recipe ({}), or choose another folder with \
                 `--out`",
                changed.join("`, `"),
                path.display()
            ))
        }
    }

    /// Opens `metrics.jsonl` for writing after its first `bytes` bytes. Later bytes were written after
    /// the checkpoint and will be written again, so they are cut off.
    ///
    /// # Errors
    /// If the file cannot be written or is shorter than that.
    pub fn open_metrics(&self, bytes: u64) -> Result<File> {
        let path = self.metrics();
        let open = || {
            let mut file = File::options()
                .create(true)
                .write(true)
                .truncate(false)
                .open(&path)?;
            let length = file.metadata()?.len();
            if length >= bytes {
                file.set_len(bytes)?;
                file.seek(SeekFrom::End(0))?;
            }
            Ok((file, length))
        };
        match open() {
            Err(source) => Err(TrainError::Write { path, source }),
            Ok((_, length)) if length < bytes => Err(TrainError::Run {
                path,
                message: format!(
                    "has {length} bytes, but the checkpoint expects {bytes}; it was cut or \
                     replaced; start again in another folder"
                ),
            }),
            Ok((file, _)) => Ok(file),
        }
    }
}
