//! What each method costs: trained parameters, time and memory, next to its Dice.

use super::axes::{Column, Line};
use super::document::{Sheet, SheetCell};
use super::table::{CLASS, DSC, Tables, mean_and_spread};
use crate::text::thousands;

impl Tables<'_> {
    /// Dice, trained parameters, time and memory of every model and method; `None` if nothing was trained.
    pub(super) fn costs(&self) -> Option<Sheet> {
        if self.results.runs.iter().all(|run| run.step_ms.is_none()) {
            return None;
        }
        let sets: Vec<&str> = match self.sets().contains(&CLASS) {
            true => vec![CLASS],
            false => Vec::new(),
        };
        let with_headline = self.lines.iter().any(|line| line.headline != CLASS);
        let header = ["data", "method"].map(str::to_owned).into_iter();
        let header = header.chain(sets.iter().map(|set| format!("DSC {set}")));
        let header = header.chain(with_headline.then(|| self.headline()));
        let costs = ["trained parameters", "ms per step", "peak MB"];
        let mut sheet = Sheet {
            title: "DSC and what it costs".into(),
            header: header.chain(costs.map(str::to_owned)).collect(),
            words: 2,
            note: "DSC in percent, mean and standard deviation over seeds. ms per step: an optimiser step of the whole batch, without \
                   validation, median over runs; it depends on the machine and on what else runs there. peak MB: the most resident \
                   memory of a run, with the evaluation at its end."
                .into(),
            ..Sheet::default()
        };
        for line in &self.lines {
            let mut label = line.label.as_str();
            for column in &self.columns {
                if self.runs(line, column).next().is_none() {
                    continue;
                }
                let mut row: Vec<SheetCell> = vec![label.into(), column.label.as_str().into()];
                let headline = with_headline.then_some(&*line.headline);
                for set in sets.iter().copied().chain(headline) {
                    let means = self.means(line, column, set, &DSC);
                    row.push(mean_and_spread(&means, means.len(), DSC.digits).into());
                }
                row.extend(self.cost(line, column).map(SheetCell::from));
                sheet.rows.push(row);
                label = "";
            }
        }
        Some(sheet)
    }

    /// The heading of the Dice under the prompts that the recipes evaluate under.
    fn headline(&self) -> String {
        let mut sets: Vec<&str> = self.lines.iter().map(|line| &*line.headline).collect();
        sets.retain(|set| !set.is_empty());
        sets.dedup();
        format!("DSC {}", sets.join(", "))
    }

    /// Trained parameters, milliseconds of a step, megabytes.
    fn cost(&self, line: &Line<'_>, column: &Column<'_>) -> [String; 3] {
        let steps = self.runs(line, column).filter_map(|run| run.step_ms);
        let mut steps: Vec<f64> = steps.collect();
        steps.sort_by(f64::total_cmp);
        let median = steps.get(steps.len() / 2);
        let peak = self.runs(line, column).filter_map(|run| run.peak_memory);
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.0}"));
        [
            column.trained.map_or("-".into(), thousands),
            number(median.copied()),
            number(peak.max().map(|bytes| bytes as f64 / 1e6)),
        ]
    }
}
