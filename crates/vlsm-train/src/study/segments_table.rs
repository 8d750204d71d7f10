//! Tables of studies of trainings on segments.

use vlsm_data::Summary;

use super::document::{Document, Sheet, SheetCell};
use super::plan::State;
use super::table::{mark_best, mean_and_spread};
use super::{Entry, SegmentCell, SegmentStudy};
use crate::error::Result;
use crate::evaluate::write_table;
use crate::segments::{AfterStage, SegmentScores, SegmentSummary};
use crate::text::thousands;

/// A score in the tables: its name, and its value as a share of 1.
type Score = (&'static str, fn(&SegmentScores) -> Option<f64>);

const SCORES: [Score; 4] = [
    ("B-F1", |scores| scores.base_f1),
    ("N-F1", |scores| scores.novel_f1),
    ("W-F1", |scores| Some(scores.weighted_f1)),
    ("accuracy", |scores| Some(scores.accuracy)),
];

/// The finished runs of a study.
struct Finished<'a> {
    study: &'a SegmentStudy,
    runs: Vec<(&'a SegmentCell, SegmentSummary)>,
}

impl SegmentStudy {
    /// The finished runs and their summaries.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), or if a summary cannot be read.
    pub fn finished(&self) -> Result<Vec<(&SegmentCell, SegmentSummary)>> {
        let plan = self.plan()?.cells.into_iter();
        let done = plan.filter(|(_, state)| *state == State::Done);
        done.map(|(cell, _)| Ok((cell, cell.summary()?))).collect()
    }

    /// Writes the scores after each stage of the finished runs to `results.csv`, a table for each data set to `table.md`, `table.tex`
    /// and `table.html`, and what the methods cost to `costs.md`, `costs.tex` and `costs.html`, all in the study's folder. Returns all
    /// tables.
    ///
    /// # Errors
    /// As [`finished`](Self::finished), or if a file cannot be written.
    pub fn write_results(&self) -> Result<Document> {
        let finished = Finished {
            study: self,
            runs: self.finished()?,
        };
        finished.write_csv()?;
        let (done, all) = (finished.runs.len(), self.cells.len());
        let mut document = Document {
            title: format!("Study {}", self.name),
            lead: match done == all {
                true => format!("{all} runs."),
                false => format!("{done} of {all} runs are done."),
            },
            sheets: self.data.iter().map(|data| finished.scores(data)).collect(),
        };
        document.write(&self.out.join("table"))?;
        // In files of their own, since times differ between equal studies.
        let costs = Document {
            sheets: vec![finished.costs()],
            ..document.clone()
        };
        costs.write(&self.out.join("costs"))?;
        document.sheets.extend(costs.sheets);
        Ok(document)
    }
}

impl Finished<'_> {
    fn of<'b>(
        &'b self,
        data: &'b Entry,
        method: &'b Entry,
    ) -> impl Iterator<Item = &'b SegmentSummary> {
        let runs = self.runs.iter();
        let runs =
            runs.filter(|(cell, _)| (&cell.data, &cell.method) == (&data.name, &method.name));
        runs.map(|(_, summary)| summary)
    }

    /// The scores of a data set: the base alone, then each method.
    fn scores(&self, data: &Entry) -> Sheet {
        let header = SCORES.map(|(name, _)| name);
        let mut header: Vec<String> = header.iter().map(ToString::to_string).collect();
        header.insert(0, "method".into());
        header.push("trained parameters".into());
        let mut columns: Vec<(Vec<SheetCell>, Vec<Option<f64>>)> =
            vec![Default::default(); SCORES.len()];
        let (mut names, mut trained) = (Vec::new(), Vec::new());
        let mut row = |name: &str, stages: Vec<&AfterStage>, planned: usize, parameters: String| {
            for ((_, score), (cells, means)) in SCORES.iter().zip(&mut columns) {
                let values = stages
                    .iter()
                    .filter_map(|stage| score(stage.test.as_ref()?));
                let values: Vec<f64> = values.map(|share| 100.0 * share).collect();
                cells.push(mean_and_spread(&values, planned.min(stages.len()), 2).into());
                let mean = Summary::of(values.iter().copied()).mean;
                means.push((!values.is_empty()).then_some(mean));
            }
            names.push(match stages.len() < planned {
                true => format!("{name} ({}/{planned})", stages.len()),
                false => name.to_owned(),
            });
            trained.push(parameters);
        };
        // The base is not trained, so any run has its scores.
        let runs = self.runs.iter().find(|(cell, _)| cell.data == data.name);
        if let Some(stage) = runs.and_then(|(_, summary)| summary.stages.first()) {
            row("zero-shot", vec![stage], 1, thousands(0));
        }
        for method in &self.study.methods {
            let last = self.of(data, method);
            let last: Vec<&AfterStage> = last.filter_map(|summary| summary.stages.last()).collect();
            let parameters = self.of(data, method).next().map(parameters);
            let parameters = parameters.map_or("-".into(), thousands);
            row(&method.title, last, self.study.seeds.len(), parameters);
        }
        for (cells, means) in &mut columns {
            mark_best(cells, means, Some(true));
        }
        let rows = names.into_iter().zip(trained).enumerate();
        let rows = rows.map(|(index, (name, trained))| {
            let mut row: Vec<SheetCell> = vec![name.into()];
            row.extend(columns.iter().map(|(cells, _)| cells[index].clone()));
            row.push(trained.into());
            row
        });
        let seeds: Vec<String> = self.study.seeds.iter().map(u64::to_string).collect();
        let spread = match seeds.as_slice() {
            [seed] => format!("Seed {seed}"),
            _ => format!(
                "Mean and standard deviation over the seeds {}",
                seeds.join(", ")
            ),
        };
        Sheet {
            title: data.title.clone(),
            header,
            words: 1,
            rows: rows.collect(),
            note: format!(
                "{spread}, on test segments, in percent. B-F1, N-F1 and W-F1: mean F1 of base classes, of novel classes and of all, \
                 weighted by their segments. zero-shot: the base without training. The best of each column is bold."
            ),
        }
    }

    /// Trained parameters, time and memory of each method.
    fn costs(&self) -> Sheet {
        let study = self.study;
        let mut sheet = Sheet {
            title: "What the methods cost".into(),
            header: ["data", "method", "trained parameters", "seconds", "peak MB"]
                .map(str::to_owned)
                .to_vec(),
            words: 2,
            note: "seconds: of the training, mean and standard deviation over seeds; they depend on the machine and on what else runs \
                   there. peak MB: the most resident memory of a run, with the evaluation at its end."
                .into(),
            ..Sheet::default()
        };
        for data in &study.data {
            let mut label = data.title.as_str();
            for method in &study.methods {
                let Some(first) = self.of(data, method).next() else {
                    continue;
                };
                let seconds: Vec<f64> = self
                    .of(data, method)
                    .map(|summary| summary.seconds)
                    .collect();
                let peak = self.of(data, method);
                let peak = peak.filter_map(|summary| summary.peak_memory_bytes).max();
                let peak = peak.map(|bytes| format!("{:.0}", bytes as f64 / 1e6));
                sheet.rows.push(vec![
                    label.into(),
                    method.title.as_str().into(),
                    thousands(parameters(first)).into(),
                    mean_and_spread(&seconds, seconds.len(), 1).into(),
                    peak.unwrap_or("-".into()).into(),
                ]);
                label = "";
            }
        }
        sheet
    }

    /// Writes one line for each stage of each run.
    fn write_csv(&self) -> Result<()> {
        let header = [
            "data",
            "method",
            "seed",
            "stage",
            "trained",
            "trained_parameters",
            "segments",
            "accuracy",
            "weighted_f1",
            "base_f1",
            "novel_f1",
            "mean_f1",
        ];
        let records = self.runs.iter().flat_map(|(cell, summary)| {
            let stages = summary.stages.iter().enumerate();
            stages.map(move |(index, stage)| {
                let test = stage.test.as_ref();
                let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
                vec![
                    cell.data.clone(),
                    cell.method.clone(),
                    cell.recipe.seed.to_string(),
                    index.to_string(),
                    stage.trained.clone(),
                    stage.trained_parameters.to_string(),
                    test.map_or(0, |test| test.segments).to_string(),
                    number(test.map(|test| test.accuracy)),
                    number(test.map(|test| test.weighted_f1)),
                    number(test.and_then(|test| test.base_f1)),
                    number(test.and_then(|test| test.novel_f1)),
                    number(test.map(|test| test.mean_f1)),
                ]
            })
        });
        write_table(&self.study.out.join("results.csv"), &header, records)
    }
}

/// The parameters that all stages of a run trained.
fn parameters(summary: &SegmentSummary) -> usize {
    let stages = summary.stages.iter();
    stages.map(|stage| stage.trained_parameters).sum()
}
