//! Training of a study's runs, one after the other.

use std::fs::{File, TryLockError};
use std::time::Duration;

use vlsm_image::write_atomic_bytes;
use vlsm_models::{Base, device};

use super::plan::State;
use super::{Cell, Study};
use crate::error::{Result, TrainError};
use crate::evaluate::write_scores;
use crate::observer::Observer;
use crate::run::train;
use crate::zero_shot::zero_shot;

/// A process that only reads a cell's state holds its lock for less than this.
const LOOK: Duration = Duration::from_millis(20);
/// Number of attempts to take a lock.
const LOOKS: usize = 5;

/// A cell that could not be completed.
#[derive(Debug)]
pub struct Failure {
    /// The cell's label.
    pub cell: String,
    /// Why.
    pub error: TrainError,
}

impl Study {
    /// Completes every cell that is not done. Unfinished cells are resumed; cells that another process works on are skipped. A cell
    /// that fails does not stop the others. `observer` is notified of the study's progress and of every training.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), before anything is run, or if the observer stops a training.
    pub fn run(&self, observer: &mut dyn Observer) -> Result<Vec<Failure>> {
        self.plan()?;
        let mut failures = Vec::new();
        let (mut elsewhere, total) = (0, self.cells.len());
        for (index, cell) in self.cells.iter().enumerate() {
            let number = format!("[{}/{total}]", index + 1);
            match cell.complete(&number, observer) {
                Ok(true) => {}
                Ok(false) => elsewhere += 1,
                Err(TrainError::Stopped) => return Err(TrainError::Stopped),
                Err(error) => {
                    let cell = cell.label();
                    observer.message(&format!("{cell} failed: {error}"));
                    failures.push(Failure { cell, error });
                }
            }
        }
        if elsewhere > 0 {
            observer.message(&format!("runs in other processes: {elsewhere}"));
        }
        Ok(failures)
    }
}

impl Cell {
    /// Completes the cell, unless it is done; `false` if another process works on it.
    fn complete(&self, number: &str, observer: &mut dyn Observer) -> Result<bool> {
        if self.left_as()? == State::Done {
            return Ok(true);
        }
        let Some(_lock) = self.take()? else {
            return Ok(false);
        };
        // Another process may have completed or started it since.
        let state = self.left_as()?;
        match &state {
            State::Done => return Ok(true),
            State::Changed(keys) => {
                return Err(TrainError::Study {
                    path: self.folder.path.clone(),
                    message: format!(
                        "another process has started this run with other values of `{}`; use another `out` for each study",
                        keys.join("`, `")
                    ),
                });
            }
            _ => {}
        }
        let doing = match state {
            State::Begun => "resuming ",
            _ => "",
        };
        observer.message(&format!("{number} {doing}{}", self.label()));
        let rows = if self.seed.is_some() {
            train(&self.recipe, &self.folder.path, true, observer)?.rows
        } else {
            let dataset = vlsm_synth::open(&self.recipe.data.config)?;
            let base = &self.recipe.model.base;
            let base = Base::load(base, &device(&self.recipe.trainer.device)?)?;
            write_atomic_bytes(&self.folder.recipe(), self.recipe.to_toml()?.as_bytes())?;
            zero_shot(&self.recipe, &dataset, &base, observer)?.1
        };
        if rows.is_empty() {
            return Err(TrainError::Study {
                path: self.folder.path.clone(),
                message: "the data set has no test split; a study reports results on test samples"
                    .into(),
            });
        }
        write_scores(&self.folder.scores(), &rows)?;
        Ok(true)
    }

    /// Locks the cell until the returned file is closed. Returns `None` if another process has locked it.
    fn take(&self) -> Result<Option<File>> {
        let path = self.lock();
        let take = || {
            std::fs::create_dir_all(&self.folder.path)?;
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?;
            for _ in 0..LOOKS {
                match file.try_lock() {
                    Ok(()) => return Ok(Some(file)),
                    Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
            Ok(None)
        };
        take().map_err(|source| TrainError::Write {
            path: path.clone(),
            source,
        })
    }
}
