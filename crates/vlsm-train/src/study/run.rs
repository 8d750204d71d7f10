//! Training of a study's runs, one after the other.

use vlsm_image::write_atomic_bytes;
use vlsm_models::{Base, device};

use super::plan::State;
use super::{Cell, Study};
use crate::claim::Claim;
use crate::error::{Result, TrainError};
use crate::evaluate::write_scores;
use crate::guarded::open_guarded;
use crate::memory::reset_peak_memory;
use crate::observer::Observer;
use crate::run::train_from_files;
use crate::run_folder::Existing;
use crate::zero_shot::zero_shot;

/// A cell that could not be completed.
#[derive(Debug)]
pub struct Failure {
    /// The cell's label.
    pub cell: String,
    /// Why.
    pub error: TrainError,
}

impl Failure {
    /// Notifies `observer` of a failure, after which the study goes on.
    ///
    /// # Errors
    /// If the observer has stopped the training, which ends the study.
    pub(super) fn new(
        cell: String,
        error: TrainError,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        if matches!(error, TrainError::Stopped) {
            return Err(error);
        }
        observer.message(&format!("{cell} failed: {error}"));
        Ok(Self { cell, error })
    }
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
                Err(error) => failures.push(Failure::new(cell.label(), error, observer)?),
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
        let Some(claim) = Claim::take(&self.folder)? else {
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
        observer.run(&format!("{number} {doing}{}", self.label()));
        reset_peak_memory();
        let mut recipe = self.recipe.with_absolute_paths();
        let rows = if self.seed.is_some() {
            train_from_files(&recipe, &claim, Existing::Resume, observer)?.rows
        } else {
            let (data, dataset) = open_guarded(&recipe.data.config, observer)?;
            recipe.data.config = data;
            let base = Base::load(&recipe.model.base, &device(&recipe.trainer.device)?)?
                .with_precision(recipe.model.precision)?;
            let rows = zero_shot(&recipe, &dataset, &base, observer)?.1;
            write_atomic_bytes(&self.folder.recipe(), recipe.to_toml()?.as_bytes())?;
            rows
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
}
