//! The states of a study's cells, and an estimate of the time left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Cell, Study};
use crate::claim::{Claim, is_claimed};
use crate::error::{Result, TrainError};
use crate::observer::Observer;
use crate::run_folder::RunFolder;

/// The state of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Complete, with its scores.
    Done,
    /// A process is working on it.
    Running,
    /// Started but not finished; it will be resumed.
    Begun,
    /// Not started, or interrupted before its first checkpoint.
    Open,
    /// Its folder holds a run whose recipe differs in these keys.
    Changed(Vec<String>),
}

/// The cells of a study, [`Cell`]s or [`SegmentCell`](super::SegmentCell)s, and their states.
#[derive(Debug, Clone)]
pub struct Plan<'a, C> {
    /// Every cell, in the order of the study.
    pub cells: Vec<(&'a C, State)>,
    /// For each cell, the expected seconds of training, if a cell like it has been trained.
    seconds: Vec<Option<f64>>,
}

/// What all kinds of studies need of a cell.
pub(super) trait Planned {
    fn label(&self) -> String;
    fn folder(&self) -> &RunFolder;
    /// The keys in which the cell's recipe differs from that of a file.
    fn changes_since(&self, recipe: &Path) -> Result<Vec<String>>;
    /// The file that a complete run has.
    fn result(&self) -> PathBuf;
    /// Whether it trains anything, which zero-shot does not.
    fn trains(&self) -> bool;
    /// The seconds that its training took, if they are known.
    fn seconds(&self) -> Option<f64>;
    /// Whether another cell should take as long.
    fn is_like(&self, other: &Self) -> bool;
    /// Starts or resumes the run of a claimed folder and ends it with what [`State::Done`] needs.
    fn complete(&self, claim: &Claim, observer: &mut dyn Observer) -> Result<()>;

    /// The state on disk, whether or not a process works on it.
    fn left_as(&self) -> Result<State> {
        let recipe = self.folder().recipe();
        if !recipe.exists() || !self.folder().holds_run() {
            return Ok(State::Open);
        }
        let changed = self.changes_since(&recipe)?;
        Ok(if !changed.is_empty() {
            State::Changed(changed)
        } else if self.result().exists() {
            State::Done
        } else {
            State::Begun
        })
    }

    fn state(&self) -> Result<State> {
        let state = self.left_as()?;
        if matches!(state, State::Done | State::Changed(_)) {
            return Ok(state);
        }
        Ok(match is_claimed(self.folder()) {
            true => State::Running,
            false => state,
        })
    }
}

/// The part of a run's `summary.json` that a study reads.
#[derive(Deserialize)]
pub(super) struct Summary {
    /// Number of trained parameters.
    pub(super) trainable_parameters: usize,
    /// Training images per second, without validation.
    pub(super) images_per_second: Option<f64>,
    /// Peak resident memory in bytes, if it is known.
    pub(super) peak_memory_bytes: Option<u64>,
    /// Seconds of the training, if they are known.
    pub(super) seconds: Option<f64>,
}

impl Cell {
    /// The run's summary; `None` until it is complete.
    pub(super) fn summary(&self) -> Option<Summary> {
        let text = std::fs::read(self.folder.summary()).ok()?;
        let mut summary: Summary = serde_json::from_slice(&text).ok()?;
        // An edited file can hold any number.
        summary.seconds = summary.seconds.filter(|seconds| *seconds >= 0.0);
        Some(summary)
    }
}

impl Study {
    /// The state of every cell.
    ///
    /// # Errors
    /// If files cannot be read, or folders of cells hold runs of other recipes. The error names all such cells with the keys.
    pub fn plan(&self) -> Result<Plan<'_, Cell>> {
        plan(&self.out, &self.cells)
    }
}

/// The plan of cells in a study's folder. Refuses a folder with runs of other recipes; the error names all of them with the keys.
pub(super) fn plan<'a, C: Planned>(out: &Path, cells: &'a [C]) -> Result<Plan<'a, C>> {
    let states = cells.iter().map(|cell| Ok((cell, cell.state()?)));
    let cells = states.collect::<Result<Vec<_>>>()?;
    let changed = cells.iter().filter_map(|(cell, state)| match state {
        State::Changed(keys) => Some(format!("\n  {}: `{}`", cell.label(), keys.join("`, `"))),
        _ => None,
    });
    let changed: String = changed.collect();
    if !changed.is_empty() {
        return Err(TrainError::Study {
            path: out.into(),
            message: format!(
                "holds runs whose recipes differ from the study's:{changed}\nrestore the values of these keys (they are in each run's \
                 recipe.toml), choose another `out`, or delete the folders of these runs"
            ),
        });
    }
    let done = cells.iter().filter(|(_, state)| *state == State::Done);
    let times = done.filter_map(|(cell, _)| Some((*cell, cell.seconds()?)));
    let times: Vec<(&C, f64)> = times.collect();
    let seconds = cells.iter().map(|(cell, _)| {
        let like = times.iter().filter(|(other, _)| cell.is_like(other));
        let like: Vec<f64> = like.map(|(_, seconds)| *seconds).collect();
        match (cell.trains(), like.len()) {
            (false, _) => Some(0.0),
            (true, 0) => None,
            (true, count) => Some(like.iter().sum::<f64>() / count as f64),
        }
    });
    Ok(Plan {
        seconds: seconds.collect(),
        cells,
    })
}

impl<C> Plan<'_, C> {
    /// Number of cells in a state.
    pub fn count(&self, state: &State) -> usize {
        self.cells
            .iter()
            .filter(|(_, other)| other == state)
            .count()
    }

    /// The time to train the cells that are not done, and the number of cells without an estimate. A cell has an estimate once
    /// another one with its data set, model and method has been trained without interruption. An unfinished cell counts in full.
    pub fn estimate(&self) -> (Duration, usize) {
        let mut known = 0.0;
        let mut unknown = 0;
        for ((_, state), seconds) in self.cells.iter().zip(&self.seconds) {
            match seconds {
                _ if *state == State::Done => {}
                Some(seconds) => known += seconds,
                None => unknown += 1,
            }
        }
        let known = Duration::try_from_secs_f64(known).unwrap_or(Duration::MAX);
        (known, unknown)
    }

    /// The estimate in words.
    pub fn estimate_in_words(&self) -> String {
        let (known, unknown) = self.estimate();
        let minutes = known.as_secs().div_ceil(60);
        let time = match (minutes / 60, minutes) {
            (0, 0 | 1) => "less than a minute".to_owned(),
            (0, _) => format!("about {minutes} min"),
            (hours, _) => format!("about {hours} h {} min", minutes % 60),
        };
        match (known.is_zero(), unknown) {
            (true, 0) => "nothing is left to train".into(),
            (false, 0) => {
                format!("{time} of training left (estimated from finished runs)")
            }
            (true, _) => {
                format!(
                    "no estimate yet for {unknown} runs; it needs a finished run of the same data set, model and method"
                )
            }
            (false, _) => format!(
                "{time} of training left (estimated from finished runs), plus {unknown} runs with no estimate yet"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUDY: &str = r#"
        seeds = [1]
        [[model]]
        name = "tiny"
        model.base = "builtin:tiny"
        [[method]]
        name = "decoder"
        method.kind = "decoder"
        [[data]]
        name = "endoscopy"
        data.root = "builtin:endoscopy"
    "#;

    #[test]
    fn an_edited_summary_does_not_break_the_estimate() {
        let folder = tempfile::tempdir().unwrap();
        let out = format!("out={:?}", folder.path());
        let study = Study::parse(STUDY, "s", &[out]).unwrap();
        let cell = &study.cells[0];
        std::fs::create_dir_all(&cell.folder.path).unwrap();
        let text = r#"{"trainable_parameters":1,"seconds":-1.0}"#;
        std::fs::write(cell.folder.summary(), text).unwrap();
        assert_eq!(cell.summary().unwrap().seconds, None);
        let plan = Plan {
            cells: vec![(cell, State::Open)],
            seconds: vec![Some(1e300)],
        };
        assert_eq!(plan.estimate(), (Duration::MAX, 0));
        assert!(plan.estimate_in_words().starts_with("about"));
    }
}
