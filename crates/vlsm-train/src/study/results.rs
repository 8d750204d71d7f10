//! The scores of a study's finished runs.

use std::path::PathBuf;

use vlsm_data::pool_sample;
use vlsm_image::fs::sweep_parts;

use super::plan::State;
use super::table::Tables;
use super::{Cell, Document, Study};
use crate::claim::lock_file;
use crate::error::{Result, TrainError};
use crate::evaluate::SampleScores;
use crate::evaluate::{COLUMNS, read_scores, record, write_table};

/// The scores of the finished runs of a study.
#[derive(Debug, Clone)]
pub struct Results<'a> {
    /// The study.
    pub study: &'a Study,
    /// The runs, in the order of the study's cells.
    pub runs: Vec<ScoredRun<'a>>,
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct ScoredRun<'a> {
    /// The run.
    pub cell: &'a Cell,
    /// Number of trained parameters.
    pub trained: usize,
    /// Milliseconds of an optimiser step, without validation; `None` if nothing was trained.
    pub step_ms: Option<f64>,
    /// Peak resident memory in bytes; `None` where the system does not report it.
    pub peak_memory: Option<u64>,
    /// The scores of every test sample under every prompt set, with the name of its data set. The recipe's set comes first.
    pub rows: Vec<(String, SampleScores)>,
}

impl Study {
    /// Reads the scores of the finished runs.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), or if scores cannot be read.
    pub fn results(&self) -> Result<Results<'_>> {
        let plan = self.plan()?;
        let done = plan.cells.iter().filter(|(_, state)| *state == State::Done);
        let runs = done.map(|(cell, _)| {
            let rows = read_scores(&cell.folder.scores())?;
            let summary = cell.summary();
            let summary = summary.as_ref();
            let batch = cell.recipe.trainer.step_samples() as f64;
            let rate = summary.and_then(|summary| summary.images_per_second);
            Ok(ScoredRun {
                cell,
                trained: summary.map_or(0, |summary| summary.trainable_parameters),
                step_ms: rate
                    .filter(|rate| *rate > 0.0)
                    .map(|rate| 1e3 * batch / rate),
                peak_memory: summary.and_then(|summary| summary.peak_memory_bytes),
                rows: rows.into_iter().map(|row| of_member(cell, row)).collect(),
            })
        });
        Ok(Results {
            study: self,
            runs: runs.collect::<Result<_>>()?,
        })
    }

    /// Writes the scores of the finished runs to `results.csv`, the tests to `tests.csv`, the tables to `table.md`, `table.tex`
    /// and `table.html`, and what the methods cost to `costs.md`, `costs.tex` and `costs.html`, all in the study's folder. Returns all
    /// tables.
    ///
    /// # Errors
    /// As [`results`](Self::results), or if a file cannot be written.
    pub fn write_results(&self) -> Result<Document> {
        let path = self.out.join("results.lock");
        let lock = || {
            std::fs::create_dir_all(&self.out)?;
            let file = lock_file(&path)?;
            file.lock()?;
            Ok(file)
        };
        // With the lock, the last of several processes reads everything that the others completed.
        let _lock = lock().map_err(|source| TrainError::Write {
            path: path.clone(),
            source,
        })?;
        sweep_parts(&self.out);
        let results = self.results()?;
        results.write_csv(self.out.join("results.csv"))?;
        let tables = Tables::of(&results);
        tables.write_tests(&self.out.join("tests.csv"))?;
        let mut document = tables.document();
        document.write(&self.out.join("table"))?;
        // In files of their own, since times differ between equal studies.
        if let Some(costs) = tables.costs() {
            let costs = Document {
                sheets: vec![costs],
                ..document.clone()
            };
            costs.write(&self.out.join("costs"))?;
            document.sheets.extend(costs.sheets);
        }
        Ok(document)
    }
}

/// A row of a run and the name of its data set. Removes the prefix that pooling adds to names.
fn of_member(cell: &Cell, mut row: SampleScores) -> (String, SampleScores) {
    if cell.members.is_empty() {
        return (cell.data.clone(), row);
    }
    let Some((member, sample)) = pool_sample(&row.sample) else {
        return (cell.data.clone(), row);
    };
    let (member, sample) = (member.to_owned(), sample.to_owned());
    let group = row.group.strip_prefix(&member).unwrap_or(&row.group);
    row.group = group.strip_prefix('/').unwrap_or(group).to_owned();
    row.sample = sample;
    (member, row)
}

impl Results<'_> {
    /// Writes one line for each test sample, prompt set and run.
    fn write_csv(&self, path: PathBuf) -> Result<()> {
        let own = [
            "data",
            "test_data",
            "model",
            "method",
            "train_prompt",
            "fold",
            "seed",
        ];
        let header = [&own[..], &COLUMNS].concat();
        let records = self.runs.iter().flat_map(|run| {
            run.rows.iter().map(|(test, row)| {
                let cell = run.cell;
                let seed = cell.seed.map(|seed| seed.to_string()).unwrap_or_default();
                let fold = cell.fold.map(|fold| fold.to_string()).unwrap_or_default();
                let of_run = [
                    &cell.data,
                    test,
                    &cell.model,
                    &cell.method,
                    &cell.prompt,
                    &fold,
                    &seed,
                ];
                let of_run = of_run.into_iter().cloned();
                of_run.chain(record(row)).collect::<Vec<String>>()
            })
        });
        write_table(&path, &header, records)
    }
}
