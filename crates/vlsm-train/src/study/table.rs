//! The tables of a study: scores, scores by prompt, and tests.

use vlsm_data::Summary;

use super::axes::{Column, Line, columns, lines};
use super::document::{Document, Sheet, SheetCell};
use super::paired::{Pair, TESTED};
use super::results::{Results, ScoredRun};
use super::wilcoxon::holm;
use crate::evaluate::{Oracle, SampleScores, intervals};
use crate::text::thousands;

/// The published prompt set with the class name only.
pub(super) const CLASS: &str = "p1";

/// A metric in the tables.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) column: &'static str,
    pub(super) value: fn(&SampleScores) -> f64,
    pub(super) digits: usize,
    /// Whether more is better; `None` if neither more nor less is.
    pub(super) more: Option<bool>,
}

pub(super) const DSC: Metric = Metric {
    name: "DSC",
    column: "dice",
    value: |row| 100.0 * row.dice,
    digits: 2,
    more: Some(true),
};
pub(super) const IOU: Metric = Metric {
    name: "IoU",
    column: "iou",
    value: |row| 100.0 * row.iou,
    digits: 2,
    more: Some(true),
};
pub(super) const HD95: Metric = Metric {
    name: "HD95",
    column: "hd95",
    value: |row| row.hd95,
    digits: 2,
    more: Some(false),
};
const ONE_EMPTY: Metric = Metric {
    name: "one empty",
    column: "one_empty",
    value: |row| if row.one_empty { 100.0 } else { 0.0 },
    digits: 1,
    more: None,
};

/// The tables of a study's results.
pub(super) struct Tables<'a> {
    pub(super) results: &'a Results<'a>,
    pub(super) lines: Vec<Line<'a>>,
    pub(super) columns: Vec<Column<'a>>,
    pub(super) pairs: Vec<Pair>,
    /// For each tested metric, the pairs' p-values after Holm's correction.
    pub(super) corrected: Vec<Vec<f64>>,
}

impl<'a> Tables<'a> {
    /// Arranges results.
    pub(super) fn of(results: &'a Results<'a>) -> Self {
        let mut tables = Self {
            results,
            lines: lines(results),
            columns: columns(results),
            pairs: Vec::new(),
            corrected: Vec::new(),
        };
        tables.pairs = tables.test();
        tables.corrected = (0..TESTED.len())
            .map(|metric| {
                let tests = tables.pairs.iter().map(|pair| pair.metrics[metric].1);
                holm(
                    &tests
                        .map(|test| test.map_or(1.0, |test| test.p))
                        .collect::<Vec<_>>(),
                )
            })
            .collect();
        tables
    }

    /// The finished runs of a line and a column.
    pub(super) fn runs(
        &self,
        line: &Line<'_>,
        column: &Column<'_>,
    ) -> impl Iterator<Item = &'a ScoredRun<'a>> {
        let wanted = [line.data, column.model, column.method, line.prompt].map(str::to_owned);
        self.results.runs.iter().filter(move |run| {
            let cell = run.cell;
            wanted
                .iter()
                .eq([&cell.data, &cell.model, &cell.method, &cell.prompt])
        })
    }

    /// The mean over samples of each seed, under a prompt set.
    pub(super) fn means(
        &self,
        line: &Line<'_>,
        column: &Column<'_>,
        set: &str,
        metric: &Metric,
    ) -> Vec<f64> {
        let runs = self.runs(line, column).filter_map(|run| {
            let rows = rows(run, line.test, set).map(metric.value);
            let summary = Summary::of(rows);
            (summary.n > 0).then_some(summary.mean)
        });
        runs.collect()
    }

    /// A value for each column of a line, the best in bold.
    fn values(&self, line: &Line<'_>, set: &str, metric: &Metric) -> Vec<SheetCell> {
        let means = self.columns.iter();
        let means: Vec<Vec<f64>> = means
            .map(|column| self.means(line, column, set, metric))
            .collect();
        let planned = self.columns.iter().map(|column| {
            let cells = self.results.study.cells.iter().filter(|cell| {
                (&*cell.data, &*cell.model, &*cell.method, &*cell.prompt)
                    == (line.data, column.model, column.method, line.prompt)
            });
            cells.count()
        });
        let mut cells: Vec<SheetCell> = means
            .iter()
            .zip(planned)
            .map(|(means, planned)| mean_and_spread(means, planned, metric.digits).into())
            .collect();
        let means: Vec<Option<f64>> = means
            .iter()
            .map(|means| (!means.is_empty()).then(|| Summary::of(means.iter().copied()).mean))
            .collect();
        mark_best(&mut cells, &means, metric.more);
        cells
    }

    /// The tables.
    pub(super) fn document(&self) -> Document {
        let study = self.results.study;
        let (done, all) = (self.results.runs.len(), study.cells.len());
        let mut lead = match done == all {
            true => format!("{all} runs."),
            false => format!("{done} of {all} runs are done."),
        };
        if let Some(cell) = study.cells.first() {
            let profile = format!("{:?}", cell.recipe.method.config.profile()).to_lowercase();
            lead += &format!(" Profile {profile}.");
        }
        let mut sheets = vec![self.scores("Scores", |line| &line.headline)];
        let class = |line: &Line<'_>| line.headline != CLASS;
        if self.lines.iter().any(class) && self.sets().contains(&CLASS) {
            sheets.push(self.scores("Scores under the class name alone (p1)", |_| CLASS));
        }
        sheets.extend(self.prompts());
        sheets.extend(self.tests());
        Document {
            title: format!("Study {}", study.name),
            lead,
            sheets,
        }
    }

    /// The paper's layout: data sets down, models and methods across.
    fn scores<'b>(&'b self, title: &str, set: impl Fn(&'b Line<'a>) -> &'b str) -> Sheet {
        let study = self.results.study;
        let mut sheet = Sheet {
            title: title.into(),
            header: vec!["data".into(), "metric".into()],
            words: 2,
            ..Sheet::default()
        };
        sheet
            .header
            .extend(self.columns.iter().map(|column| column.label.clone()));
        let mut sets: Vec<&str> = Vec::new();
        for line in &self.lines {
            let set = set(line);
            if !set.is_empty() && !sets.contains(&set) {
                sets.push(set);
            }
            for (index, metric) in [DSC, IOU, HD95, ONE_EMPTY].iter().enumerate() {
                let label = if index == 0 { &*line.label } else { "" };
                let mut row = vec![label.into(), metric.name.into()];
                row.extend(self.values(line, set, metric));
                sheet.rows.push(row);
                if metric.more.is_some() {
                    let mut row: Vec<SheetCell> = vec!["".into(), "95 % interval".into()];
                    let columns = self.columns.iter();
                    row.extend(
                        columns.map(|column| self.interval(line, column, set, metric).into()),
                    );
                    sheet.rows.push(row);
                }
            }
        }
        let mut trained: Vec<SheetCell> = vec!["trained parameters".into(), "".into()];
        trained.extend(self.columns.iter().map(|column| {
            let trained = column.trained.map(thousands);
            SheetCell::from(trained.unwrap_or("-".into()))
        }));
        sheet.rows.push(trained);
        let seeds: Vec<String> = study.seeds.iter().map(u64::to_string).collect();
        let spread = match seeds.as_slice() {
            _ if study.cells.iter().any(|cell| cell.fold.is_some()) => format!(
                "Mean and standard deviation over folds and the seeds {} of the mean over the fold's samples",
                seeds.join(", ")
            ),
            [seed] => format!("Mean over the test samples, seed {seed}"),
            _ => format!(
                "Mean and standard deviation over the seeds {} of the mean over the test samples",
                seeds.join(", ")
            ),
        };
        sheet.note = format!(
            "{spread}, each at its mask's own size, under prompt {}; 95 % interval: of the mean, by \
             bootstrap over images or patients (key data.group). DSC and IoU in percent, HD95 in pixels; one empty: the \
             share of samples in which prediction or truth, but not both, has no foreground, so that HD95 is the image's \
             diagonal, in percent. The best of each row is bold.",
            sets.iter()
                .map(|set| format!("{set}{}", self.oracle(set).mark()))
                .collect::<Vec<_>>()
                .join(", ")
        );
        sheet
    }

    /// Whether the prompts of a set were read from true masks.
    fn oracle(&self, set: &str) -> Oracle {
        let rows = self.results.runs.iter().flat_map(|run| &run.rows);
        let of_set = rows.map(|(_, row)| row).filter(|row| row.set == set);
        of_set.map(|row| row.oracle).max().unwrap_or_default()
    }

    /// The interval of the mean over samples and seeds.
    fn interval(&self, line: &Line<'_>, column: &Column<'_>, set: &str, metric: &Metric) -> String {
        let rows = self
            .runs(line, column)
            .flat_map(|run| rows(run, line.test, set));
        let values: Vec<(&str, [f64; 1])> = rows
            .map(|row| (&*row.subject, [(metric.value)(row)]))
            .collect();
        let digits = metric.digits;
        match intervals(&values).1 {
            Some([[low, high]]) => format!("{low:.digits$} to {high:.digits$}"),
            None => "-".into(),
        }
    }

    /// All prompt sets of the results: the class name first, then the set that the recipes evaluate under.
    pub(super) fn sets(&self) -> Vec<&str> {
        let mut sets: Vec<&str> = Vec::new();
        for run in &self.results.runs {
            let first = run.rows.first().map(|(_, row)| &row.sample);
            let of_first = run
                .rows
                .iter()
                .take_while(|(_, row)| Some(&row.sample) == first);
            for (_, row) in of_first {
                if !sets.contains(&row.set.as_str()) {
                    sets.push(&row.set);
                }
            }
        }
        sets.sort_by_key(|set| match *set {
            CLASS => 0,
            set if self.lines.iter().all(|line| line.headline == set) => 1,
            _ => 2,
        });
        sets
    }

    /// The Dice of every model and method by the prompt at test time; `None` if there is only one prompt.
    fn prompts(&self) -> Option<Sheet> {
        let sets = self.sets();
        if sets.len() < 2 {
            return None;
        }
        let mut sheet = Sheet {
            title: "DSC by the prompt at test time".into(),
            header: vec!["data".into(), "method".into()],
            words: 2,
            note: "Mean and standard deviation over seeds, in percent; the best prompt of each row is bold. p0 is the empty \
                   prompt. p1 is the class name alone, all that a user knows about a new image. oracle: words of these prompts were \
                   read from the ground-truth masks, which a user does not have (oracle?: the data set does not say)."
                .into(),
            ..Sheet::default()
        };
        sheet.header.extend(
            sets.iter()
                .map(|set| format!("{set}{}", self.oracle(set).mark())),
        );
        for line in &self.lines {
            let mut label = line.label.as_str();
            for column in &self.columns {
                let means: Vec<Vec<f64>> = sets
                    .iter()
                    .map(|set| self.means(line, column, set, &DSC))
                    .collect();
                if means.iter().all(Vec::is_empty) {
                    continue;
                }
                let mut cells: Vec<SheetCell> = means
                    .iter()
                    .map(|means| mean_and_spread(means, means.len(), DSC.digits).into())
                    .collect();
                let means: Vec<Option<f64>> = means
                    .iter()
                    .map(|means| {
                        (!means.is_empty()).then(|| Summary::of(means.iter().copied()).mean)
                    })
                    .collect();
                mark_best(&mut cells, &means, Some(true));
                let mut row = vec![label.into(), column.label.as_str().into()];
                row.extend(cells);
                sheet.rows.push(row);
                label = "";
            }
        }
        Some(sheet)
    }
}

/// The rows of a run on a test data set under a prompt set.
pub(super) fn rows<'a>(
    run: &'a ScoredRun<'_>,
    test: &str,
    set: &str,
) -> impl Iterator<Item = &'a SampleScores> + Clone {
    let (test, set) = (test.to_owned(), set.to_owned());
    let rows = run.rows.iter();
    rows.filter(move |(data, row)| *data == test && row.set == set)
        .map(|(_, row)| row)
}

/// Mean ± standard deviation of values. If fewer than `planned` are known, followed by both counts.
pub(super) fn mean_and_spread(values: &[f64], planned: usize, digits: usize) -> String {
    if values.is_empty() {
        return "-".into();
    }
    let summary = Summary::of(values.iter().copied());
    let mut text = format!("{:.digits$}", summary.mean);
    if values.len() > 1 {
        text += &format!(" ± {:.digits$}", summary.std);
    }
    if values.len() < planned {
        text += &format!(" ({}/{planned})", values.len());
    }
    text
}

/// Makes the best of several values bold.
pub(super) fn mark_best(cells: &mut [SheetCell], means: &[Option<f64>], more: Option<bool>) {
    let known = means.iter().flatten().copied();
    let best = match more {
        Some(true) => known.clone().reduce(f64::max),
        Some(false) => known.clone().reduce(f64::min),
        None => None,
    };
    if known.count() < 2 {
        return;
    }
    for (cell, mean) in cells.iter_mut().zip(means) {
        cell.bold = best.is_some() && *mean == best;
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
