//! Paired tests between the columns of a table.

use std::collections::HashMap;
use std::path::Path;

use vlsm_data::Summary;

use super::axes::{Column, Line};
use super::document::{Sheet, SheetCell};
use super::table::{DSC, HD95, IOU, Metric, Tables, rows};
use super::wilcoxon::{Wilcoxon, wilcoxon};
use crate::error::Result;
use crate::evaluate::write_table;

/// Below this, a corrected p-value is bold.
const SIGNIFICANT: f64 = 0.05;

/// A paired test between two columns of a line.
pub(super) struct Pair {
    line: usize,
    columns: [usize; 2],
    /// Subjects that both were measured on.
    subjects: usize,
    /// For each metric, the mean difference and the test.
    pub(super) metrics: Vec<(f64, Option<Wilcoxon>)>,
}

pub(super) const TESTED: [Metric; 3] = [DSC, IOU, HD95];

impl<'a> Tables<'a> {
    /// Every pair of columns in every line.
    pub(super) fn test(&self) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            let subjects = self.columns.iter();
            let subjects: Vec<_> = subjects
                .map(|column| self.by_subject(line, column))
                .collect();
            let found = subjects.iter().map(|all| all.iter().copied().collect());
            let found: Vec<HashMap<&str, [f64; 3]>> = found.collect();
            for (a, first) in subjects.iter().enumerate() {
                for (b, found) in found.iter().enumerate().skip(a + 1) {
                    let shared = first.iter().filter_map(|(name, values)| {
                        let others = found.get(name)?;
                        Some([0, 1, 2].map(|metric| values[metric] - others[metric]))
                    });
                    let differences: Vec<[f64; 3]> = shared.collect();
                    if differences.is_empty() {
                        continue;
                    }
                    let metrics = (0..TESTED.len()).map(|metric| {
                        let values: Vec<f64> = differences.iter().map(|all| all[metric]).collect();
                        (Summary::of(values.iter().copied()).mean, wilcoxon(&values))
                    });
                    pairs.push(Pair {
                        line: index,
                        columns: [a, b],
                        subjects: differences.len(),
                        metrics: metrics.collect(),
                    });
                }
            }
        }
        pairs
    }

    /// The metrics of each subject, mean over its samples and seeds, under the line's own prompts. Samples of one image or patient
    /// are not independent, so they count as one in a test.
    pub(super) fn by_subject(
        &self,
        line: &Line<'_>,
        column: &Column<'_>,
    ) -> Vec<(&'a str, [f64; 3])> {
        let mut order: Vec<&'a str> = Vec::new();
        let mut sums: HashMap<&'a str, ([f64; 3], f64)> = HashMap::new();
        for run in self.runs(line, column) {
            for row in rows(run, line.test, &line.headline) {
                let (sum, count) = sums.entry(&row.subject).or_insert_with(|| {
                    order.push(&row.subject);
                    ([0.0; 3], 0.0)
                });
                for (sum, metric) in sum.iter_mut().zip(&TESTED) {
                    *sum += (metric.value)(row);
                }
                *count += 1.0;
            }
        }
        let mean = |name: &'a str| {
            let (sum, count) = sums.get(name)?;
            Some((name, sum.map(|sum| sum / count)))
        };
        order.into_iter().filter_map(mean).collect()
    }

    /// The table of tests; `None` if there is nothing to compare.
    pub(super) fn tests(&self) -> Option<Sheet> {
        if self.pairs.is_empty() {
            return None;
        }
        let mut sheet = Sheet {
            title: "Paired tests".into(),
            header: ["data", "first", "second", "n"].map(String::from).to_vec(),
            words: 3,
            note: format!(
                "Differences of the means over n images or patients (key data.group), first minus second, and p-values of Wilcoxon's \
                 two-sided signed-rank test over them (each the mean over its samples and seeds), with Holm's correction for the {} pairs of a metric; those \
                 below {SIGNIFICANT} are bold.",
                self.pairs.len()
            ),
            ..Sheet::default()
        };
        for metric in &TESTED {
            sheet
                .header
                .extend([format!("Δ{}", metric.name), "p".into()]);
        }
        let mut above = None;
        for (index, pair) in self.pairs.iter().enumerate() {
            let label = match above.replace(pair.line) == Some(pair.line) {
                true => "",
                false => &*self.lines[pair.line].label,
            };
            let mut row: Vec<SheetCell> = vec![label.into()];
            row.extend(
                pair.columns
                    .map(|column| self.columns[column].label.as_str().into()),
            );
            row.push(pair.subjects.to_string().into());
            for ((metric, (difference, _)), p) in
                TESTED.iter().zip(&pair.metrics).zip(&self.corrected)
            {
                row.push(format!("{difference:+.*}", metric.digits).into());
                row.push(SheetCell {
                    text: p_value(p[index]),
                    bold: p[index] < SIGNIFICANT,
                });
            }
            sheet.rows.push(row);
        }
        Some(sheet)
    }

    /// Writes all tests to a CSV file, in full precision.
    pub(super) fn write_tests(&self, path: &Path) -> Result<()> {
        let header = [
            "data",
            "test_data",
            "train_prompt",
            "prompt_set",
            "first",
            "second",
            "metric",
            "subjects",
            "mean_difference",
            "statistic",
            "p",
            "p_holm",
        ];
        let name = |column: usize| {
            let Column { model, method, .. } = &self.columns[column];
            format!("{model}/{method}")
        };
        let records = self.pairs.iter().enumerate().flat_map(|(index, pair)| {
            let line = &self.lines[pair.line];
            TESTED.iter().enumerate().map(move |(at, metric)| {
                let (difference, test) = &pair.metrics[at];
                let text =
                    |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
                let [first, second] = pair.columns.map(name);
                [
                    line.data.to_owned(),
                    line.test.to_owned(),
                    line.prompt.to_owned(),
                    line.headline.clone(),
                    first,
                    second,
                    metric.column.to_owned(),
                    pair.subjects.to_string(),
                    difference.to_string(),
                    text(test.map(|test| test.statistic)),
                    text(test.map(|test| test.p)),
                    self.corrected[at][index].to_string(),
                ]
            })
        });
        write_table(path, &header, records)
    }
}

fn p_value(p: f64) -> String {
    if p < 0.001 {
        "<0.001".into()
    } else {
        format!("{p:.3}")
    }
}
