//! Training of a study's runs, one after the other.

use std::path::{Path, PathBuf};

use vlsm_image::write_atomic_bytes;
use vlsm_models::{Base, device};

use super::plan::{Planned, State, plan};
use super::{Cell, Study};
use crate::claim::Claim;
use crate::error::{Result, TrainError};
use crate::evaluate::write_scores;
use crate::guarded::open_guarded;
use crate::memory::reset_peak_memory;
use crate::observer::Observer;
use crate::recipe::Recipe;
use crate::run::train_from_files;
use crate::run_folder::{Existing, RunFolder};
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
        complete(&self.out, &self.cells, observer)
    }
}

/// Completes every cell of a study that is not done.
pub(super) fn complete<C: Planned>(
    out: &Path,
    cells: &[C],
    observer: &mut dyn Observer,
) -> Result<Vec<Failure>> {
    plan(out, cells)?;
    let mut failures = Vec::new();
    let (mut elsewhere, total) = (0, cells.len());
    for (index, cell) in cells.iter().enumerate() {
        let number = format!("[{}/{total}]", index + 1);
        match complete_cell(cell, &number, observer) {
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

/// Completes a cell, unless it is done; `false` if another process works on it.
fn complete_cell(cell: &impl Planned, number: &str, observer: &mut dyn Observer) -> Result<bool> {
    if cell.left_as()? == State::Done {
        return Ok(true);
    }
    let Some(claim) = Claim::take(cell.folder())? else {
        return Ok(false);
    };
    // Another process may have completed or started it since.
    let doing = match cell.left_as()? {
        State::Done => return Ok(true),
        State::Changed(keys) => {
            return Err(TrainError::Study {
                path: cell.folder().path.clone(),
                message: format!(
                    "another process has started this run with other values of `{}`; use another `out` for each study",
                    keys.join("`, `")
                ),
            });
        }
        State::Begun => "resuming ",
        State::Open | State::Running => "",
    };
    observer.run(&format!("{number} {doing}{}", cell.label()));
    reset_peak_memory();
    cell.complete(&claim, observer)?;
    Ok(true)
}

impl Planned for Cell {
    fn label(&self) -> String {
        Self::label(self)
    }

    fn folder(&self) -> &RunFolder {
        &self.folder
    }

    fn changes_since(&self, recipe: &Path) -> Result<Vec<String>> {
        self.recipe.changes_since(&Recipe::read(recipe, &[])?)
    }

    fn result(&self) -> PathBuf {
        self.folder.scores()
    }

    fn trains(&self) -> bool {
        self.seed.is_some()
    }

    fn seconds(&self) -> Option<f64> {
        self.summary()?.seconds
    }

    /// A cell that differs in prompt and seed alone takes as long.
    fn is_like(&self, other: &Self) -> bool {
        let kind = |cell: &Self| [cell.data.clone(), cell.model.clone(), cell.method.clone()];
        kind(self) == kind(other)
    }

    fn complete(&self, claim: &Claim, observer: &mut dyn Observer) -> Result<()> {
        let mut recipe = self.recipe.with_absolute_paths();
        let rows = if self.seed.is_some() {
            train_from_files(&recipe, claim, Existing::Resume, observer)?.rows
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
        write_scores(&self.folder.scores(), &rows)
    }
}
