//! The runs of a study, one after the other.

use std::fs::{File, TryLockError};
use std::time::Duration;

use vlsm_data::{Dataset, write_atomic_bytes};
use vlsm_models::{Base, device};

use super::plan::State;
use super::{Cell, Study};
use crate::error::{Result, TrainError};
use crate::run::train;
use crate::scores::write_scores;
use crate::zero_shot::zero_shot;

/// A process that only looks where a cell stands keeps it locked for less than this.
const LOOK: Duration = Duration::from_millis(20);
/// Looks in a row that are waited for.
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
    /// Completes every cell that is not done: what was begun is gone on with, what another process has in hand is left to it.
    /// A cell that fails does not keep the others from being run. `say` is told what is being done.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), before anything is run.
    pub fn run(&self, mut say: impl FnMut(&str)) -> Result<Vec<Failure>> {
        self.plan()?;
        let mut failures = Vec::new();
        let (mut elsewhere, total) = (0, self.cells.len());
        for (place, cell) in self.cells.iter().enumerate() {
            let mut told = |state: &State| {
                let doing = match state {
                    State::Begun => "going on with ",
                    _ => "",
                };
                say(&format!("[{}/{total}] {doing}{}", place + 1, cell.label()));
            };
            match cell.complete(&mut told) {
                Ok(true) => {}
                Ok(false) => elsewhere += 1,
                Err(error) => {
                    let cell = cell.label();
                    say(&format!("{cell} failed: {error}"));
                    failures.push(Failure { cell, error });
                }
            }
        }
        if elsewhere > 0 {
            say(&format!(
                "runs in the hands of other processes: {elsewhere}"
            ));
        }
        Ok(failures)
    }
}

impl Cell {
    /// Completes the cell, unless it is done; `false` if another process has it in hand.
    fn complete(&self, say: &mut impl FnMut(&State)) -> Result<bool> {
        if self.left_as()? == State::Done {
            return Ok(true);
        }
        let Some(_lock) = self.take()? else {
            return Ok(false);
        };
        // Others may have completed it since, or begun and left it.
        let state = self.left_as()?;
        match &state {
            State::Done => return Ok(true),
            State::Changed(keys) => {
                return Err(TrainError::Study {
                    path: self.folder.path.clone(),
                    message: format!(
                        "another process has begun this run with other values of `{}`; one folder is for one study",
                        keys.join("`, `")
                    ),
                });
            }
            _ => {}
        }
        say(&state);
        let rows = if self.seed.is_some() {
            train(&self.recipe, &self.folder.path, true)?.rows
        } else {
            let dataset = Dataset::open(&self.recipe.data.config)?;
            let base = &self.recipe.model.base;
            let base = Base::load(base, &device(&self.recipe.trainer.device)?)?;
            write_atomic_bytes(&self.folder.recipe(), self.recipe.to_toml().as_bytes())?;
            zero_shot(&self.recipe, &dataset, &base)?.1
        };
        if rows.is_empty() {
            return Err(TrainError::Study {
                path: self.folder.path.clone(),
                message: "the data set has no test samples, and the results of a study are theirs"
                    .into(),
            });
        }
        write_scores(&self.folder.scores(), &rows)?;
        Ok(true)
    }

    /// Takes the cell in hand until the file is closed, as it is when the process ends, however that comes; `None` if
    /// another process has it.
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
